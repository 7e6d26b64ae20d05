"""Streaming top-k and bottom-k against a dense sort."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastif.attribution.slice_totals import SliceTotals
from fastif.numerics.top_bottom_k import MERGE_THRESHOLD, TopBottomK


def _dense(scores, keep):
    """By a sort of the whole matrix in Python: score first, then id."""
    table = []
    for row in scores.tolist():
        order = sorted(range(len(row)), key=lambda i: (row[i], i))
        table.append(order if 2 * keep >= len(order) else order[:keep] + order[-keep:])
    return table


@given(
    st.integers(1, 4),
    st.integers(1, 60),
    st.integers(1, 12),
    st.lists(st.integers(1, 17), min_size=1, max_size=6),
    st.integers(0, 10_000),
)
def test_any_batches_in_any_order_give_the_dense_top_and_bottom_k(
    queries, count, keep, sizes, seed
):
    generator = torch.Generator().manual_seed(seed)
    # Few distinct values, so that ties are frequent.
    scores = torch.randint(-3, 4, (queries, count), generator=generator).double()
    order, ends, start = torch.randperm(count, generator=generator), TopBottomK(queries, keep), 0
    while start < count:
        ids = order[start : start + sizes[start % len(sizes)]]
        ends.add(ids, scores[:, ids])
        start += len(ids)
    ids, kept_scores, attached = ends.get_result()
    assert ids.tolist() == _dense(scores, keep)
    assert torch.equal(kept_scores, scores.gather(1, ids))
    assert attached == []


def test_buffered_columns_are_merged_with_their_attached_values():
    count = 3 * MERGE_THRESHOLD + 5
    scores = torch.randn(3, count, generator=torch.Generator().manual_seed(0))
    ends = TopBottomK(3, k=7, attached=2)
    for ids in torch.randperm(count, generator=torch.Generator().manual_seed(1)).split(97):
        ends.add(ids, scores[:, ids], 2 * scores[:, ids], -scores[:, ids])
        num_columns = sum(part.shape[1] for part in ends._scores)
        assert num_columns < MERGE_THRESHOLD + 97 + 14, "more columns are held than are buffered"
    ids, kept_scores, (double, negative) = ends.get_result()
    assert ids.tolist() == _dense(scores, 7)
    assert torch.equal(double, 2 * kept_scores)
    assert torch.equal(negative, -kept_scores)


def test_without_k_all_scores_are_kept():
    scores = torch.tensor([[2.0, -1.0, 0.0]])
    ends = TopBottomK(1, None)
    ends.add(torch.arange(3), scores)
    assert ends.get_result()[0].tolist() == [[1, 2, 0]]
    assert TopBottomK(2, 3).get_result()[0].shape == (2, 0)


def test_scores_without_a_number_come_last_in_the_order_of_their_ids():
    scores = torch.full((2, 23), torch.nan)
    scores[1, 5:8] = torch.tensor([3.0, -torch.inf, torch.inf])
    ends = TopBottomK(2, 4)
    ends.add(torch.arange(23), scores)
    ends.add(torch.arange(23, 46), torch.full((2, 23), torch.nan))
    ids = ends.get_result()[0]
    assert ids.tolist() == [[0, 1, 2, 3, 42, 43, 44, 45], [6, 5, 7, 0, 42, 43, 44, 45]]


def test_slice_totals_equal_the_dense_sums():
    scores = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))
    slices = torch.tensor([0, 2, 0, 0, 2])
    totals = SliceTotals.make_empty(slices, 3, 40)
    for ids in torch.arange(39).split(7):
        totals.add(ids, scores[:, ids])
    expected = torch.stack([scores[slices == s].double().sum(0) for s in range(3)])
    torch.testing.assert_close(totals.effects[:, :39], expected[:, :39])
    assert bool(totals.effects[:, 39].isnan().all()), "a row that was never added has no sum"


def test_nonfinite_scores_count_as_zero():
    totals = SliceTotals.make_empty(torch.tensor([0, 0]), 1, 2)
    totals.add(torch.tensor([0, 1]), torch.tensor([[1.0, torch.inf], [2.0, -3.0]]))
    assert totals.effects.tolist() == [[3.0, -3.0]]


def test_slice_totals_of_batches_add_up():
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    slices, parts = torch.tensor([1, 0, 1, 1]), []
    for part in (slice(0, 1), slice(1, 4)):
        parts.append(SliceTotals.make_empty(slices[part], 2, 3))
        parts[-1].add(torch.arange(3), scores[part])
    whole = SliceTotals.make_empty(slices, 2, 3)
    whole.add(torch.arange(3), scores)
    torch.testing.assert_close(SliceTotals.concat(parts).effects, whole.effects)


@pytest.mark.parametrize("keep", [1, 4, 100])
def test_the_result_does_not_depend_on_the_dtype(keep):
    scores = torch.randn(2, 9, generator=torch.Generator().manual_seed(4))
    results = []
    for dtype in (torch.float32, torch.float64):
        ends = TopBottomK(2, keep)
        ends.add(torch.arange(9), scores.to(dtype))
        results.append(ends.get_result()[0])
    assert torch.equal(*results)
