"""Search by heads: exact products, top-k and bottom-k, neighbours, and a measured recall."""

import pytest
import torch

from fastif import InputError
from fastif.candidates import head_index
from fastif.candidates.head_index import HeadIndex
from fastif.candidates.sketch_index import SketchBlock, SketchIndex


def _store(rows, sizes=(700, 1, 299), seed=0):
    """Rows in blocks, in another order than their positions."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    blocks = []
    for ids in order.split(list(sizes)):
        block, ids = rows[ids], ids.sort()
        blocks.append(SketchBlock(lambda block=block: block, ids.values, ids.indices))
    return SketchIndex(blocks)


@pytest.fixture
def rows():
    """Sketches of a decaying spectrum, as those of gradients are."""
    generator = torch.Generator().manual_seed(1)
    scale = 1 / torch.arange(1, 101).float().sqrt()
    return (torch.randn(1000, 100, generator=generator) * scale).half()


@pytest.mark.parametrize("scanned", [0, 4096])
def test_returned_products_and_cosines_are_exact(rows, monkeypatch, scanned):
    monkeypatch.setattr(head_index, "SCANNED_ROWS", scanned)
    monkeypatch.setattr(head_index, "RANKED", 100)
    index = HeadIndex.build(_store(rows), 16)
    assert index.is_exact == (scanned > 1000)
    queries = rows[:5].float()
    hits = index.search(queries, 10, near=7)
    dense = rows.double()
    products = queries.double() @ dense.T
    cosines = products / dense.norm(dim=1) / queries.double().norm(dim=1)[:, None]
    assert torch.allclose(hits.products.double(), products.gather(1, hits.ids), rtol=1e-5)
    assert torch.allclose(hits.cosines.double(), cosines.gather(1, hits.near), rtol=1e-5)
    assert (hits.near[:, 0] == torch.arange(5)).all()
    assert (hits.products.diff(dim=1) >= 0).all()
    if index.is_exact:
        ends = products.sort(1).indices
        assert torch.equal(hits.ids, torch.cat([ends[:, :10], ends[:, -10:]], 1))
        assert torch.equal(hits.near, cosines.sort(1, descending=True).indices[:, :7])


def test_recall_is_that_of_a_count_by_hand(rows, monkeypatch):
    monkeypatch.setattr(head_index, "SCANNED_ROWS", 0)
    monkeypatch.setattr(head_index, "RANKED", 20)
    shares = []
    for length in (1, 16, 100):
        index = HeadIndex.build(_store(rows), length)
        ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:32]
        ends = (rows[ids].double() @ rows.double().T).sort(1).indices
        truth = torch.cat([ends[:, :10], ends[:, -10:]], 1)
        hits = index.search(rows[ids].float(), 10).ids
        by_hand = [
            len(set(a) & set(b)) / 20 for a, b in zip(hits.tolist(), truth.tolist(), strict=True)
        ]
        shares.append(index.measure_recall(10))
        assert shares[-1] == pytest.approx(sum(by_hand) / 32, abs=1e-6)
    assert shares[0] < shares[1] < shares[2] == 1


def test_equal_products_are_ordered_by_position():
    index = HeadIndex.build(_store(torch.ones(1000, 2).half()))
    hits = index.search(torch.ones(1, 2), 2, near=2)
    assert hits.ids.tolist() == [[0, 1, 998, 999]]
    assert hits.near.tolist() == [[0, 1]]


def test_a_zero_sketch_and_few_rows_have_answers():
    index = HeadIndex.build(_store(torch.tensor([[1.0], [0.0], [-2.0]]).half(), (3,)))
    hits = index.search(torch.zeros(1, 1), 5, near=5)
    assert hits.ids.tolist() == [[0, 1, 2]]
    assert hits.cosines.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("k", "near", "width"), [(0, 0, 100), (5000, 0, 100), (1, -1, 100), (1, 0, 99)]
)
def test_requests_that_do_not_fit_are_refused(rows, k, near, width):
    with pytest.raises(InputError, match="sketches of length 100"):
        HeadIndex.build(_store(rows)).search(torch.ones(1, width), k, near)
