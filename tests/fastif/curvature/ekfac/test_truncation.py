"""Submatrices that contain the large entries of a matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastif.curvature.ekfac.truncation import find_dominant_blocks


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_blocks_are_disjoint_and_contain_every_large_entry(rows, columns, share, seed):
    large = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < share
    times = torch.zeros(rows, columns, dtype=torch.long)
    for box in find_dominant_blocks(large):
        times[box.rows[:, None], box.columns] += 1
    assert (times[large] == 1).all()
    assert times.max() <= 1


def test_no_large_entry_needs_no_block():
    assert find_dominant_blocks(torch.zeros(3, 4, dtype=torch.bool)) == []


def test_a_full_matrix_needs_one_block():
    (box,) = find_dominant_blocks(torch.ones(3, 4, dtype=torch.bool))
    assert (len(box.rows), len(box.columns)) == (3, 4)


@pytest.mark.parametrize("turned", [False, True])
def test_two_blocks_of_a_staircase_cost_a_fraction_of_one(turned):
    values = torch.outer(torch.arange(1.0, 61) ** -2, torch.arange(1.0, 81) ** -2)
    large = (values.T if turned else values) >= 1e-3
    o, i = large.shape
    r, c = int(large.any(1).sum()), int(large.any(0).sum())
    box_cost = min(o * c * (i + r), r * i * (o + c))
    assert sum(box.cost for box in find_dominant_blocks(large)) < 0.5 * box_cost
