"""Inner products of long vectors in single precision, against double precision."""

import pytest
import torch
from pretended_device import DEVICE, Elsewhere

from fastif.gradients.gradient_tile import aligned_rows
from fastif.numerics.blocked_dot import (
    BLOCK_SIZE,
    add_whole_blocks,
    pairwise_dots,
    row_dots,
    row_norms,
)

LONG = 16 * BLOCK_SIZE + 5
NEAR = 2e-6


def _similar_rows(count: int, seed: int) -> torch.Tensor:
    """Vectors with products that are nearly all of one sign, where sums lose most digits."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(LONG, generator=torch.Generator().manual_seed(9))
    return base + 0.1 * torch.randn(count, LONG, generator=generator)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_pairwise_dots_are_precise_for_any_number_of_vectors(count):
    left, right = _similar_rows(count, 0), _similar_rows(5, 1)
    exact = left.double() @ right.double().T
    for actual in (pairwise_dots(left, right), pairwise_dots(right, left).T):
        torch.testing.assert_close(actual.double(), exact, rtol=NEAR, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("held", [1, 33, 10**6])
def test_products_on_a_device_are_those_on_the_cpu(monkeypatch, dtype, held):
    """Many blocks in one batched product, of rows with a stride of their own."""
    monkeypatch.setattr("fastif.numerics.blocked_dot.MAX_PRODUCTS", held)
    vectors = [_similar_rows(count, count).to(dtype) for count in (3, 5)]
    left, right = (aligned_rows(rows, len(rows), LONG).copy_(rows) for rows in vectors)
    expected = pairwise_dots(left, right)
    with Elsewhere():
        actual = pairwise_dots(left.to(DEVICE), right.to(DEVICE)).cpu()
    assert actual.dtype == expected.dtype == torch.float32
    exact = left.double() @ right.double().T
    rounding = NEAR if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(actual.double(), exact, rtol=rounding, atol=0.0)
    total = torch.zeros(3, 5)
    assert add_whole_blocks(left, right, total) == 16 * BLOCK_SIZE
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=0.0)


def test_row_dots_are_precise():
    left, right = _similar_rows(6, 0), _similar_rows(6, 1)
    exact = (left.double() * right.double()).sum(1)
    torch.testing.assert_close(row_dots(left, right).double(), exact, rtol=NEAR, atol=0.0)
    norms = left.double().norm(dim=1)
    torch.testing.assert_close(row_norms(left).double(), norms, rtol=NEAR, atol=0.0)


def test_short_and_empty_vectors():
    left, right = torch.rand(3, 7).double(), torch.rand(2, 7).double()
    torch.testing.assert_close(pairwise_dots(left, right), left @ right.T)
    assert pairwise_dots(left[:, :0], right[:, :0]).tolist() == [[0.0, 0.0]] * 3
    assert row_norms(left[:0]).shape == (0,)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nonfinite_values_stay_in_their_row(bad):
    rows = torch.ones(2, BLOCK_SIZE + 2)
    rows[1, -1] = bad
    assert torch.isfinite(row_norms(rows)).tolist() == [True, False]
