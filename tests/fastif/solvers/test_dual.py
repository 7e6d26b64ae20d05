"""Dual solver with the exact Gram matrix, and with a low-rank factor of it."""

import pytest
import reference
import torch
from cases import case
from systems import DAMPING, add_damping, classifier, random_rows, residuals
from torch import Tensor

from fastif import (
    CrossEntropy,
    Dual,
    GaussNewton,
    Hessian,
    InputError,
    ModuleObjective,
    SquaredError,
    TensorExamples,
)
from fastif.solvers.gram import compute_gram_matrix
from fastif.solvers.pivoted_cholesky import randomly_pivoted_cholesky


@pytest.mark.parametrize("classes", [1, 2, 3, 5])  # 1: regression
@pytest.mark.parametrize("damping", [1e-4, 0.1, 10.0])
def test_dual_is_exact_for_any_number_of_outputs(classes, damping):
    objective, examples, problem = classifier(classes)
    rhs = random_rows(objective.space.size)
    solution = Dual().solve(GaussNewton(objective, examples).with_damping(damping), rhs)
    matrix = reference.gauss_newton(problem)
    inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("block_rows", [1, 3, 64])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 32])
def test_dual_does_not_depend_on_block_and_batch_sizes(block_rows, batch_size):
    objective, examples, problem = classifier(3)
    rhs = random_rows(objective.space.size)
    operator = GaussNewton(objective, examples.with_batch_size(batch_size)).with_damping(DAMPING)
    solver = Dual(block_rows=block_rows)
    kernel = solver.factor(operator)["kernel"]
    torch.testing.assert_close(kernel, kernel.T)
    matrix = reference.gauss_newton(problem)
    torch.testing.assert_close(kernel.diagonal().sum() / 11, matrix.diagonal().sum())
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solver.solve(operator, rhs).value, rhs @ inverse)


def test_dual_on_a_subset_inverts_the_mean_over_the_subset():
    objective, examples, problem = classifier(3)
    ids = [2, 9, 9, 4, 7]
    operator = GaussNewton(objective, examples.with_batch_size(2), torch.tensor(ids))
    rhs = random_rows(objective.space.size)
    solution = Dual().solve(operator.with_damping(DAMPING), rhs)
    matrix = reference.gauss_newton(problem, ids)
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solution.value, rhs @ inverse)


def test_one_gram_matrix_serves_every_damping():
    objective, examples, problem = classifier(3)
    operator = GaussNewton(objective, examples)
    rhs = random_rows(objective.space.size)
    factor = Dual().factor(operator.with_damping(7.0))
    matrix = reference.gauss_newton(problem)
    for damping in (1e-3, 0.1, 50.0):
        solution = Dual().solve(operator.with_damping(damping), rhs, factor)
        inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
        torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-8, atol=1e-8)
        assert solution.damping == damping


def test_a_gram_matrix_of_other_examples_gives_a_large_residual():
    objective, examples, _ = classifier(3)
    other = TensorExamples(examples.inputs.flip(0) * 3, examples.labels)
    factor = Dual().factor(GaussNewton(objective, other).with_damping(1e-3))
    operator = GaussNewton(objective, examples).with_damping(1e-3)
    rhs = random_rows(objective.space.size)
    value = Dual().solve(operator, rhs, factor).value
    assert ((rhs - operator.apply(value)).norm(dim=1) / rhs.norm(dim=1) > 0.1).all()


@pytest.mark.parametrize("damping", [1e-1, 1e-3, 1e-5])
def test_dual_reports_the_rounding_of_single_precision_to_an_order_of_magnitude(damping):
    """Compared with the residual in double precision; only rounding of the small system counts."""
    torch.manual_seed(0)
    module = torch.nn.Linear(20, 3)
    examples = TensorExamples(3 * torch.randn(40, 20), torch.randint(3, (40,)))
    operator = GaussNewton(ModuleObjective(module, CrossEntropy()), examples)
    rhs = random_rows(63).float()
    solution = Dual().solve(operator.with_damping(damping), rhs)
    exact = GaussNewton(ModuleObjective(module.double(), CrossEntropy()), _double(examples))
    left = rhs.double() - exact.with_damping(damping).apply(solution.value.double())
    measured = left.norm(dim=1) / rhs.double().norm(dim=1)
    assert (solution.residual.double() > measured / 10 - 1e-6).all()


def _double(examples: TensorExamples) -> TensorExamples:
    return TensorExamples(examples.inputs.double(), examples.labels)


def test_dual_refuses_a_gram_matrix_in_another_order():
    objective, examples, _ = classifier(3)
    operator = GaussNewton(objective, examples.with_batch_size(4)).with_damping(DAMPING)
    factor = Dual().factor(operator)
    other = GaussNewton(objective, examples.with_batch_size(3)).with_damping(DAMPING)
    with pytest.raises(InputError, match=r"batch size 3.*got a factor computed with batch size 4"):
        Dual().solve(other, random_rows(objective.space.size), factor)


def test_dual_refuses_too_many_examples():
    examples = TensorExamples(torch.zeros(20_001, 1), torch.zeros(20_001, 1))
    objective = ModuleObjective(torch.nn.Linear(1, 1), SquaredError())
    operator = GaussNewton(objective, examples).with_damping(1.0)
    with pytest.raises(
        InputError, match=r"at most 20000 rows of the GGN.*got 20001 x 1.*rows to 20000.*= 3201"
    ):
        Dual().solve(operator, torch.zeros(1, 2))


def test_dual_refuses_a_hessian_and_a_damping_of_zero():
    made = case("mlp")
    rhs = random_rows(made.objective.space.size)
    with pytest.raises(InputError, match=r"Gauss-Newton.*got Hessian with damping 0.1.*cg"):
        Dual().solve(Hessian(made.objective, made.train).with_damping(0.1), rhs)
    with pytest.raises(InputError, match=r"damping > 0; got GaussNewton with damping 0"):
        Dual().solve(GaussNewton(made.objective, made.train).with_damping(0.0), rhs)


def test_a_gram_matrix_that_rounding_made_indefinite_is_accepted():
    """With two parameters, 58 eigenvalues of a 60 x 60 Gram matrix are rounding noise."""
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1, bias=False)
    examples = TensorExamples(1e3 * torch.randn(60, 2), torch.zeros(60, 1))
    operator = GaussNewton(ModuleObjective(module, SquaredError()), examples).with_damping(1e-9)
    kernel = Dual().factor(operator)["kernel"].double()
    assert torch.linalg.cholesky_ex(add_damping(kernel, 60e-9)).info > 0
    solution = Dual().solve(operator, torch.ones(2, 2))
    assert torch.isfinite(solution.value).all()
    assert torch.isfinite(solution.residual).all()


# Low-rank factors.


def _wide(count: int = 150, dtype: torch.dtype = torch.float64) -> GaussNewton:
    """A network with 227 parameters and 300 factor rows."""
    torch.manual_seed(5)
    module = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    scale = 0.7 ** torch.arange(10)
    examples = TensorExamples((scale * torch.randn(count, 10)).to(dtype), torch.zeros(count).long())
    return GaussNewton(
        ModuleObjective(module.to(dtype), CrossEntropy()), examples.with_batch_size(50)
    )


def _kernel(operator: GaussNewton) -> Tensor:
    rows = [
        tile.gradients.clone()
        for piece in range(operator.num_batches)
        for tile in operator.factor_rows(piece)
    ]
    return torch.cat(rows) @ torch.cat(rows).T


@pytest.mark.parametrize("rank", [1, 64, 150])
@pytest.mark.parametrize("held", [50, 1000])
def test_a_low_rank_factor_reports_the_remaining_trace(rank, held):
    operator = _wide()
    root, left = randomly_pivoted_cholesky(operator, rank, 0.0, held)
    rest = _kernel(operator) - root @ root.T
    assert root.shape == (300, rank)
    assert float(rest.trace()) == pytest.approx(left, rel=1e-6)
    assert torch.linalg.eigvalsh(rest)[0] > -1e-9  # F Fᵀ never exceeds K
    best = torch.linalg.eigvalsh(_kernel(operator)).flip(0)[rank:].sum()
    assert left < 10 * best


def test_pivoting_stops_at_the_target_trace_and_at_full_rank():
    operator = _wide()
    kernel = _kernel(operator)
    enough = 0.01 * float(kernel.trace())
    root, left = randomly_pivoted_cholesky(operator, 300, enough, 64)
    assert root.shape[1] < 300
    assert 0 < left <= enough
    root, left = randomly_pivoted_cholesky(operator, 300, 0.0, 64)
    assert root.shape[1] <= operator.size + 10  # about the rank of K
    assert left < 1e-9 * float(kernel.trace())
    torch.testing.assert_close(root @ root.T, kernel, rtol=1e-6, atol=1e-8)


def test_chunks_of_pivots_give_an_equal_factor():
    operator = _wide()
    once, apart = (randomly_pivoted_cholesky(operator, 80, 0.0, held)[0] for held in (1000, 9))
    torch.testing.assert_close(once, apart, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("damping", [1e-4, 1e-2, 1.0])
def test_a_factor_of_full_rank_is_exact(damping):
    operator = _wide().with_damping(damping)
    rhs = random_rows(operator.size)
    exact, low = Dual().solve(operator, rhs), Dual(rank=300).solve(operator, rhs)
    error = (low.value - exact.value).norm(dim=1) / exact.value.norm(dim=1)
    assert (error < 1e-3).all()
    assert low.steps <= 7  # one or two steps of refinement
    assert low.converged.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rank", [10, 40, 100])
def test_the_rank_changes_the_passes_and_not_the_solution(rank, dtype):
    operator = _wide(dtype=dtype).with_damping(1e-2)
    rhs = random_rows(operator.size).to(dtype)
    solution = Dual(rank=rank).solve(operator, rhs)
    exact = _wide(dtype=torch.float64).with_damping(1e-2)
    matrix = add_damping(exact.operator.to_dense(), 1e-2)
    measured = residuals(matrix, solution.value.double(), rhs.double())
    torch.testing.assert_close(solution.residual.double(), measured, rtol=1e-3, atol=1e-5)
    assert (measured < 2e-3).all()
    assert solution.converged.all()


def test_a_larger_rank_takes_fewer_passes():
    operator, rhs = _wide().with_damping(1e-3), random_rows(227)
    steps = [Dual(rank=rank).solve(operator, rhs).steps for rank in (10, 40, 100)]
    assert steps[0] > steps[1] > steps[2]


def test_too_small_a_rank_is_reported_as_not_converged():
    operator = _wide().with_damping(1e-7)
    solution = Dual(rank=1).solve(operator, random_rows(operator.size))
    assert not solution.converged.any()


def test_a_low_rank_factor_serves_another_damping_too():
    operator, rhs = _wide(), random_rows(227)
    factor = Dual(rank=60).factor(operator.with_damping(1e-2))
    assert factor["root"].shape[1] <= 60
    for damping in (1e-3, 1e-2, 1.0):
        solution = Dual(rank=60).solve(operator.with_damping(damping), rhs, factor)
        exact = Dual().solve(operator.with_damping(damping), rhs)
        error = (solution.value - exact.value).norm(dim=1) / exact.value.norm(dim=1)
        assert (error < 0.02).all()
    assert Dual(rank=60).factor_depends_on_damping
    assert not Dual().factor_depends_on_damping


def test_a_refusal_for_memory_gives_the_sizes_that_fit():
    operator = _wide().with_damping(1.0)  # 300 factor rows: 720 kB, or 24 kB for 10 columns
    Dual(memory_mb=1).check(operator)
    Dual(memory_mb=1, rank=10).check(operator)
    large = GaussNewton(operator.operator.objective, operator.operator.examples, torch.arange(150))
    ids = torch.arange(400) % 150
    large = GaussNewton(large.objective, large.examples, ids).with_damping(1.0)  # 800: 5.12 MB
    with pytest.raises(
        InputError, match=r"at most 353 rows of the GGN.*memory_mb = 1.*rows to 176.*= 6"
    ):
        Dual(memory_mb=1).check(large)
    Dual(memory_mb=1, rank=150).check(large)
    with pytest.raises(InputError, match=r"at most 625 rows of the GGN.*smaller rank \(now 200\)"):
        Dual(memory_mb=1, rank=200).check(large)


def test_the_gram_matrix_is_held_once_in_its_own_dtype():
    operator = _wide(dtype=torch.float32)
    torch.testing.assert_close(compute_gram_matrix(operator, 2), _kernel(operator))
    assert Dual().factor(operator.with_damping(1.0))["kernel"].dtype == torch.float32
