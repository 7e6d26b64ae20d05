"""Residual on the full training set: exact against dense matrices, estimates against their mean."""

import pytest
import reference
import torch
from cases import case
from torch.utils._python_dispatch import TorchDispatchMode

from fastif import GaussNewton, Hessian
from fastif.attribution import control_sample as control
from fastif.attribution import full_residual as residual
from fastif.attribution.full_residual import compute_full_residual
from fastif.curvature import DampedOperator, DenseOperator, LinearOperator

DAMPING, SAMPLE = 0.1, [0, 3, 4, 7]


def _rows(size: int, count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def _truth(matrix: torch.Tensor, value: torch.Tensor, rhs: torch.Tensor) -> torch.Tensor:
    left = rhs - value @ (matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    return left.norm(dim=1) / rhs.norm(dim=1)


def _make_sampled(name: str, kind=GaussNewton, batch_size: int = 4):
    """A curvature of four of nine examples, the dense curvature of all, and a solution."""
    made = case(name, batch_size=batch_size)
    operator = kind(made.objective, made.train, torch.tensor(SAMPLE))
    names = {GaussNewton: reference.gauss_newton, Hessian: reference.hessian}
    rhs = _rows(operator.size)
    small = names[kind](made.problem, SAMPLE) + DAMPING * torch.eye(operator.size).double()
    return (
        operator.with_damping(DAMPING),
        names[kind](made.problem),
        torch.linalg.solve(small, rhs.T).T,
    )


@pytest.mark.default_cases
@pytest.mark.parametrize("kind", [GaussNewton, Hessian])
@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "embedding",
        "outside",
        pytest.param("bert", marks=pytest.mark.long),
        "multi-label",
    ],
)
def test_over_all_rows_it_equals_the_dense_residual(name, kind):
    operator, matrix, value = _make_sampled(name, kind)
    rhs = _rows(operator.size)
    expected = _truth(matrix, value, rhs)
    assert expected.max() > 1e-3, "sample and full curvature agree, so the test measures nothing"
    actual = compute_full_residual(operator, value, rhs)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)
    left = rhs.norm(dim=1) / _rows(operator.size).norm(dim=1)
    torch.testing.assert_close(left, expected, rtol=1e-8, atol=1e-10), "rhs holds the residual"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param("linear", 60, marks=pytest.mark.long),
        ("mlp", 8),
        pytest.param("multi-label", 8, marks=pytest.mark.long),
    ],
)
def test_the_estimate_from_few_rows_is_unbiased(name, rows):
    """With one to three factor rows for each example."""
    operator, matrix, value = _make_sampled(name, batch_size=3)
    rhs = 3 * _rows(operator.size)  # far from solved, so that no estimate is below zero
    truth = _truth(matrix, value, rhs).square()
    seeds = range(150)
    estimates = torch.stack(
        [
            compute_full_residual(operator, value, rhs.clone(), sample_size=rows, seed=seed)
            for seed in seeds
        ]
    ).square()
    assert (estimates > 0).all(), "a clamped estimate is biased"
    error = estimates.std(0) / len(seeds) ** 0.5
    assert ((estimates.mean(0) - truth).abs() < 4 * error).all()
    plain = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        sample = operator.operator.on_all_data().sample(generator, 4)
        plain.append(_truth(sample.to_dense(), value, rhs).square())
    gap = torch.stack(plain).mean(0) - truth
    assert (gap > 4 * error).any(), "the two estimates are too close for this test"


@pytest.mark.parametrize("size", [None, 8])
def test_solutions_in_half_precision_have_the_residual_of_their_rounded_numbers(size):
    operator, _, value = _make_sampled("mlp")
    low, rhs = value.bfloat16(), _rows(operator.size)
    expected = compute_full_residual(operator, low.double(), rhs.clone(), sample_size=size)
    actual = compute_full_residual(operator, low, rhs, sample_size=size)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


def test_the_estimate_depends_on_its_seed_alone():
    operator, _, value = _make_sampled("mlp")
    rhs = _rows(operator.size)
    first, again, other = (
        compute_full_residual(operator, value, rhs.clone(), sample_size=4, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("own", [residual.SEED_OFFSET, control.SEED])
def test_samples_differ_from_those_of_small_seeds(own):
    """A generator may use only some bits of its seed, so different numbers are not enough."""

    def sample(seed: int) -> list[int]:
        return torch.randperm(50, generator=torch.Generator().manual_seed(seed)).tolist()

    assert sample(own) not in [sample(seed) for seed in range(100)]


def test_without_factor_or_sample_nothing_is_measured():
    operator, _, value = _make_sampled("mlp", Hessian)
    rhs = _rows(operator.size)
    assert compute_full_residual(operator, value, rhs, sample_size=4) is None
    assert compute_full_residual(_make_sampled("mlp")[0], value, rhs, sample_size=0) is None

    class Bare(LinearOperator):
        size, like = operator.size, operator.like

        def apply(self, vectors):
            return vectors

    assert compute_full_residual(DampedOperator(Bare(), 0.1), value, rhs) is None
    assert torch.equal(rhs, _rows(operator.size))
    matrix = torch.eye(operator.size, dtype=torch.float64)
    actual = compute_full_residual(
        DenseOperator(matrix).with_damping(DAMPING), rhs / 2, rhs.clone()
    )
    torch.testing.assert_close(actual, torch.full((5,), 0.45, dtype=torch.float64))


class _Largest(TorchDispatchMode):
    """Size of the largest tensor that an operation allocates."""

    made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if tensor.untyped_storage().data_ptr() not in before:
                self.made = max(self.made, tensor.numel())
        return result


def _tensors(tree) -> list[torch.Tensor]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [tensor for part in tree for tensor in _tensors(part)]
    return [tree] if torch.is_tensor(tree) else []


@pytest.mark.parametrize("rows", [None, 8])
def test_no_third_matrix_is_allocated(rows):
    operator, _, _ = _make_sampled("mlp", batch_size=2)
    value, rhs = _rows(operator.size, 60), _rows(operator.size, 60)
    with _Largest() as watch:
        rhs - value
    assert watch.made == value.numel(), "allocations are recorded"
    with _Largest() as watch:
        compute_full_residual(operator, value, rhs, sample_size=rows)
    assert 0 < watch.made <= value.numel() / 4
