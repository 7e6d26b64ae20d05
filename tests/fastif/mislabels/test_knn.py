"""k nearest neighbours by cosine similarity, and kNN smoothing."""

import pytest
import torch

from fastif.mislabels import knn
from fastif.mislabels.knn import find_neighbours, measure_neighbour_recall, smooth_logits


def find_dense(features, k):
    """The k nearest rows by a dense matrix of cosines in double precision."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    dense = unit @ unit.T
    dense.fill_diagonal_(-2)
    return dense, dense.topk(k, 1)


def test_neighbours_are_the_nearest_by_cosine_and_never_the_row_itself():
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    features[10:13] = features[9]
    neighbour_ids = find_neighbours(features, 4)
    dense, nearest = find_dense(features, 4)
    assert not (neighbour_ids == torch.arange(50)[:, None]).any()
    assert torch.allclose(dense.gather(1, neighbour_ids), nearest.values, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_neighbours_do_not_depend_on_the_tile(monkeypatch, rows):
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = find_neighbours(features, 4)
    monkeypatch.setattr(knn, "TILE_ROWS", rows)
    assert torch.equal(find_neighbours(features, 4), whole)
    assert measure_neighbour_recall(features, whole) == 1


def test_recall_of_an_approximate_search_is_that_of_the_dense_truth(monkeypatch):
    features = torch.randn(2_000, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(knn, "MAX_EXACT_ROWS", 1_000)
    monkeypatch.setattr(knn, "PROBES", 12)
    monkeypatch.setattr(knn, "RECALL_ROWS", 2_000)
    neighbour_ids = find_neighbours(features, 10)
    assert not (neighbour_ids == torch.arange(2_000)[:, None]).any()
    nearest = find_dense(features, 10)[1].indices
    truth = (neighbour_ids[:, :, None] == nearest[:, None]).any(2).double().mean()
    assert 0.4 < truth < 0.99
    assert measure_neighbour_recall(features, neighbour_ids) == pytest.approx(
        float(truth), abs=2e-3
    )
    monkeypatch.setattr(knn, "PROBES", 1)
    fewer = measure_neighbour_recall(features, find_neighbours(features, 10))
    assert fewer < truth - 0.1


@pytest.mark.parametrize("together", [3, 512])
def test_rows_far_from_many_duplicates_have_their_nearest_rows(monkeypatch, together):
    """Their cells hold fewer rows than k, and the cells of duplicates are mostly empty."""
    generator = torch.Generator().manual_seed(0)
    features = torch.arange(1.0, 17.0).repeat(6_000, 1)
    features[:30] = 5 * torch.randn(30, 16, generator=generator)
    monkeypatch.setattr(knn, "MAX_EXACT_ROWS", 1_000)
    monkeypatch.setattr(knn, "EXACT_ROWS", together)
    ids = knn._index_rows(features).search(knn.normalize_rows(features[:30]), 21).ids
    is_short = (ids < 0).any(1)
    assert is_short.any()
    neighbour_ids = find_neighbours(features, 20)
    assert int(neighbour_ids.min()) >= 0
    assert not (neighbour_ids == torch.arange(6_000)[:, None]).any()
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    cosines = unit[:30] @ unit.T
    cosines[torch.arange(30), torch.arange(30)] = -2
    actual = cosines.gather(1, neighbour_ids[:30])[is_short]
    assert torch.allclose(actual, cosines.topk(20, 1).values[is_short], atol=1e-5)


def test_smoothing_by_present_neighbours():
    """The weight of the neighbours is that of the classes; absent neighbours have none."""
    own = torch.tensor([[1.0, 0.0, 0.5], [0.0, 2.0, -1.0], [-1.0, 0.3, 0.2]])
    near = torch.tensor([[1, -1], [-1, -1], [0, 1]])
    smoothed = smooth_logits(own, own, near)
    p = own.double().softmax(1)
    assert torch.equal(smoothed[1], own.log_softmax(1)[1])
    means = [p[1], None, (p[0] + p[1]) / 2]
    for i in (0, 2):
        expected = 0.75 * p[i].log() + 0.25 * means[i].log()
        assert torch.allclose(smoothed[i].double(), expected, atol=1e-6)


def test_two_classes_are_not_smoothed():
    own = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert torch.equal(smooth_logits(own, own, torch.tensor([[1], [0]])), own.log_softmax(1))
