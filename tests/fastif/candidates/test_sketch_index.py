"""Search over blocks of sketches in half precision equals search over the whole matrix."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastif import InputError
from fastif.candidates import sketch_index as stored
from fastif.candidates.sketch_index import SketchBlock, SketchIndex


def _blocks(rows, sizes, seed):
    """Shuffle the rows over blocks, with unused rows, as after a change of training rows."""
    random = np.random.default_rng(seed)
    order, blocks, start = random.permutation(len(rows)), [], 0
    for size in [*sizes, len(rows)]:
        ids = np.sort(order[start : start + size])
        start += size
        if not len(ids):
            break
        kept = torch.randn(len(ids) + 2, rows.shape[1]).half()
        places = torch.from_numpy(random.permutation(len(kept))[: len(ids)])
        kept[places] = rows[ids].half()
        blocks.append(SketchBlock(partial(torch.clone, kept), torch.from_numpy(ids), places))
    return SketchIndex(blocks)


@given(
    st.integers(1, 70),
    st.lists(st.integers(1, 30), max_size=4),
    st.integers(1, 40),
    st.integers(0, 1000),
)
def test_top_and_bottom_k_equal_those_of_dense_products(count, sizes, k, seed):
    generator = torch.Generator().manual_seed(seed)
    # Small whole numbers: exact in half precision, and full of ties.
    rows = torch.randint(-2, 3, (count, 3), generator=generator).float()
    queries = torch.randint(-2, 3, (2, 3), generator=generator).float()
    k = min(k, count)
    index = _blocks(rows, sizes, seed)
    assert index.count == count
    products = queries @ rows.T
    candidates = index.search(queries, k)
    best = products.sort(1, descending=True).values[:, :k]
    assert torch.equal(products.gather(1, candidates.ids), best)
    assert torch.equal(candidates.distances, best)
    ends = index.search_top_bottom(queries, k)
    for query, ids in enumerate(ends.ids):
        row_ids = ids[ids >= 0]
        assert len(row_ids) == len(row_ids.unique())
        order = sorted(range(count), key=lambda i: (float(products[query, i]), i))
        high, low = order[count - (k - k // 2) :], order[: k // 2]
        assert set(row_ids.tolist()) == {*high, *low}


def test_sketches_are_read_in_any_order_and_chunk_size(monkeypatch):
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).half().float()
    index = _blocks(rows, [7, 20], 1)
    ids = torch.tensor([49, 0, 3, 3, 21])
    assert torch.equal(index.take(ids), rows[ids])
    queries = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    whole = index.search_top_bottom(queries, 6).ids
    monkeypatch.setattr(stored, "CHUNK_ROWS", 4)
    assert torch.equal(index.search_top_bottom(queries, 6).ids, whole)


def test_invalid_query_width_and_k_are_refused():
    index = _blocks(torch.ones(5, 4), [2], 0)
    with pytest.raises(InputError, match=r"k from 1 to 5.*k = 6"):
        index.search(torch.ones(1, 4), 6)
    with pytest.raises(InputError, match=r"length 4.*length 3"):
        index.search_top_bottom(torch.ones(1, 3), 2)
