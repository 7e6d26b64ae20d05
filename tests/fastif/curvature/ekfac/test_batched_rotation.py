"""Rotations of EK-FAC on a GPU: one batched product for all queries, which copies none of them."""

from collections import Counter

import pytest
import torch
from pretended_device import DEVICE, Elsewhere
from torch.utils._python_dispatch import TorchDispatchMode

from fastif.curvature.ekfac import kronecker
from fastif.curvature.ekfac.kronecker import KroneckerBlock

OUTPUTS, INPUTS = 24, 16
SIZE = OUTPUTS * INPUTS + OUTPUTS
DAMPING = 0.1


class _Operations(TorchDispatchMode):
    """Counts operations, and the largest matrix that is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.counts, self.copied = Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        if func in (torch.ops.aten.copy_.default, torch.ops.aten.clone.default):
            self.copied = max(self.copied, args[0].numel())
        return func(*args, **(kwargs or {}))


def _make_block(device: torch.device, bias: bool = True, transposed: bool = False):
    generator = torch.Generator().manual_seed(0)
    width, weight = INPUTS + bias, OUTPUTS * INPUTS
    outputs, inputs = (
        torch.linalg.qr(torch.randn(size, size, generator=generator))[0].to(device)
        for size in (OUTPUTS, width)
    )
    decay = torch.outer(torch.logspace(1, -6, OUTPUTS), torch.logspace(1, -6, width)).to(device)
    own_bias = slice(weight, SIZE) if bias else None
    return KroneckerBlock(slice(0, weight), own_bias, outputs, inputs, decay, transposed)


def _make_vectors(count: int, size: int = SIZE) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("negligible", [0.0, 1e-3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_gpu_rotates_all_queries_together_and_agrees_with_a_processor(
    bias, transposed, negligible, monkeypatch
):
    monkeypatch.setattr(kronecker, "CHUNK", 1)  # query by query
    rows = _make_vectors(9, SIZE if bias else OUTPUTS * INPUTS)
    expected = torch.empty_like(rows)
    block = _make_block(torch.device("cpu"), bias, transposed)
    block.apply_inverse(rows, expected, DAMPING, negligible)
    with Elsewhere():
        there = _make_block(DEVICE, bias, transposed)
        vectors = rows.to(DEVICE)
        out = torch.empty_like(vectors)
        there.apply_inverse(vectors, out, DAMPING, negligible)
        actual = out.cpu()
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_number_of_operations_does_not_depend_on_the_queries(monkeypatch):
    monkeypatch.setattr(kronecker, "CHUNK", kronecker.DEVICE_CHUNK)
    block, counts = _make_block(torch.device("cpu")), []
    for count in (3, 50):
        rows = _make_vectors(count)
        with _Operations() as operations:
            block.apply_inverse(rows, torch.empty_like(rows), DAMPING, 1e-3)
        counts.append(operations.counts)
        assert operations.copied <= count * OUTPUTS, "the weights of the queries are copied"
    assert counts[0] == counts[1]


def test_eigenvectors_take_the_type_of_the_vectors():
    block = _make_block(torch.device("cpu"))
    rows = _make_vectors(5)
    expected, low = torch.empty_like(rows), torch.empty_like(rows, dtype=torch.bfloat16)
    block.apply_inverse(rows, expected, DAMPING, 0.0)
    block.apply_inverse(rows.bfloat16(), low, DAMPING, 0.0)
    error = (low.float() - expected).norm() / expected.norm()
    assert 1e-4 < error < 2e-2
