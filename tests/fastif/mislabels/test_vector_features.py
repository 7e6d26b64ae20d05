"""Features of vectors: standardized by columns, of which a few are read at a time."""

import pytest
import torch

from fastif.mislabels import features, vector_features
from fastif.mislabels.features import concat_views, standardize_robustly, standardize_view
from fastif.mislabels.vector_features import join_vector_features


class StoredVectors:
    """Vectors of which each read is recorded."""

    def __init__(self, values):
        self.values, self.widest = values, 0

    @property
    def shape(self):
        return tuple(self.values.shape)

    def read_columns(self, start, stop):
        self.widest = max(self.widest, stop - start)
        return self.values[:, start:stop].double()


def make_vectors(width=37, n=50):
    values = torch.randn(n, width, generator=torch.Generator().manual_seed(width))
    values[3, 1] = torch.nan
    values[:, 2] = 5.0
    return values


@pytest.mark.parametrize("columns", [1, 8, 64])
def test_vectors_are_standardized_as_a_whole_matrix(monkeypatch, columns):
    monkeypatch.setattr(vector_features, "COLUMNS", columns)
    left, right = StoredVectors(make_vectors(37)), StoredVectors(make_vectors(40) + 1e6)
    others = concat_views([torch.randn(50, 3)])
    actual = join_vector_features([left, right], others)
    parts = [
        *(standardize_robustly(v.values.double()) / v.shape[1] ** 0.5 for v in (left, right)),
        others,
    ]
    assert torch.allclose(actual, torch.cat(parts, 1) / 3**0.5, atol=1e-6)
    assert left.widest == min(columns, 37)
    assert float(actual[:, 2].abs().max()) == 0


def test_a_single_vector_has_a_mean_square_of_one_over_its_width():
    values = torch.randn(400, 64, generator=torch.Generator().manual_seed(0))
    actual = join_vector_features([StoredVectors(values)])
    assert actual.dtype == torch.float32
    assert float(actual.square().sum(1).mean()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_views_do_not_depend_on_the_tile(monkeypatch, rows):
    views = [torch.randn(50, 3) * 4 + 2, torch.randn(50, 5)]
    views[0][:, 1] = 7.0
    whole, single = concat_views(views), standardize_view(views[0])
    expected = [(v - v.mean(0)) / v.std(0, correction=0) / v.shape[1] ** 0.5 for v in views]
    expected[0][:, 1] = 0.0
    assert torch.allclose(whole, torch.cat(expected, 1) / 2**0.5, atol=1e-6)
    monkeypatch.setattr(features, "TILE_ROWS", rows)
    assert torch.equal(concat_views(views), whole)
    assert torch.equal(standardize_view(views[0]), single)
