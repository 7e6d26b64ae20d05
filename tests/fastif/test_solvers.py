"""Every solver against a dense inverse in double precision, and how each of them fails."""

import time
from dataclasses import replace
from functools import cached_property

import pytest
import reference
import torch
from cases import case

from fastif import (
    ConjugateGradient,
    CrossEntropy,
    Damped,
    Dense,
    Direct,
    Dual,
    GaussNewton,
    Hessian,
    InputError,
    Lissa,
    ModuleObjective,
    Solver,
    SquaredError,
    TensorExamples,
)

DAMPING = 0.1
# LiSSA on all examples at each step: a sample of the operator that is the operator itself.
SOLVERS: dict[str, tuple[Solver, float]] = {
    "cg": (ConjugateGradient(tolerance=1e-10, max_steps=500), 1e-8),
    "direct": (Direct(), 1e-10),
    "dual": (Dual(), 1e-10),
    "lissa": (Lissa(depth=6000, scale=2.0, tolerance=1e-6), 1e-6),
}


class Whole(GaussNewton):
    """A Gauss-Newton matrix whose sample is all of it, to take the chance out of LiSSA."""

    @cached_property
    def held(self) -> Dense:
        return Dense(self.dense())

    def sample(self, generator: torch.Generator, size: int) -> Dense:
        return self.held


def _problem(name: str = "mlp") -> tuple[Damped, torch.Tensor]:
    made = case(name)
    matrix = reference.gauss_newton(made.problem)
    dense = matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype)
    return Whole(made.objective, made.train, batch_size=4).damped(DAMPING), dense


def _rows(size: int, count: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def _residual(matrix: torch.Tensor, value: torch.Tensor, rhs: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [(b - matrix @ x).norm() / b.norm() for x, b in zip(value, rhs, strict=True)]
    )


@pytest.fixture(params=SOLVERS)
def solver(request):
    return SOLVERS[request.param]


# What holds for every solver.


@pytest.mark.parametrize("name", ["mlp", "layernorm", "outside"])
def test_a_solution_equals_the_dense_inverse(solver, name):
    operator, matrix = _problem(name)
    rhs = _rows(operator.size)
    kept = rhs.clone()
    solution = solver[0].solve(operator, rhs)
    expected = rhs @ torch.linalg.inv(matrix)
    torch.testing.assert_close(solution.value, expected, rtol=solver[1], atol=solver[1])
    assert solution.converged.all()
    assert solution.damping == DAMPING
    assert solution.steps >= 1
    assert torch.equal(rhs, kept)


def test_the_residual_reported_is_the_residual_measured(solver):
    operator, matrix = _problem()
    rhs = _rows(operator.size)
    solution = solver[0].solve(operator, rhs)
    measured = _residual(matrix, solution.value, rhs)
    torch.testing.assert_close(solution.residual, measured, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "stopped",
    [
        ConjugateGradient(tolerance=1e-10, max_steps=3),
        Lissa(depth=25, scale=2.0, tolerance=1e-3),
        Lissa(depth=5, scale=2.0, repeats=3, tolerance=1e-3),
    ],
)
def test_a_solver_stopped_early_reports_its_true_residual_and_says_so(stopped):
    operator, matrix = _problem()
    rhs = _rows(operator.size)
    solution = stopped.solve(operator, rhs)
    measured = _residual(matrix, solution.value, rhs)
    torch.testing.assert_close(solution.residual, measured, rtol=1e-9, atol=0.0)
    assert (measured > 1e-3).all()
    assert not solution.converged.any()


def test_a_row_does_not_depend_on_the_rows_solved_with_it(solver):
    operator, _ = _problem()
    rhs = _rows(operator.size, 4)
    rhs[2] *= 1e4
    together = solver[0].solve(operator, rhs)
    for i in range(4):
        alone = solver[0].solve(operator, rhs[i : i + 1])
        torch.testing.assert_close(together.value[i], alone.value[0], rtol=1e-9, atol=1e-11)
        assert together.converged[i] == alone.converged[0]


def test_a_zero_row_has_a_zero_solution(solver):
    operator, _ = _problem()
    rhs = _rows(operator.size, 2)
    rhs[0] = 0
    solution = solver[0].solve(operator, rhs)
    assert (solution.value[0] == 0).all()
    assert solution.residual[0] == 0
    assert solution.converged.all()


def test_a_row_with_nan_is_not_reported_as_converged(solver):
    operator, _ = _problem()
    rhs = _rows(operator.size, 2)
    rhs[1, 0] = torch.nan
    assert not solver[0].solve(operator, rhs).converged[1]


def test_a_factor_made_before_gives_the_same_solution(solver):
    operator, _ = _problem()
    rhs = _rows(operator.size)
    factor = solver[0].factor(operator)
    torch.testing.assert_close(
        solver[0].solve(operator, rhs, factor).value, solver[0].solve(operator, rhs).value
    )


def test_a_solver_is_a_record_that_can_be_compared_and_not_changed(solver):
    assert solver[0] == replace(solver[0])
    with pytest.raises(AttributeError):
        solver[0].kind = "other"


def test_single_precision_rows_stay_single_and_are_solved_to_its_precision():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 3)
    examples = TensorExamples(torch.randn(8, 3), torch.randint(3, (8,)))
    operator = Whole(ModuleObjective(module, CrossEntropy()), examples).damped(DAMPING)
    rhs = _rows(12).float()
    matrix = operator.operator.dense().double() + DAMPING * torch.eye(12, dtype=torch.float64)
    for solver, _ in SOLVERS.values():
        solution = solver.solve(operator, rhs)
        assert solution.value.dtype == torch.float32
        expected = rhs.double() @ torch.linalg.inv(matrix)
        torch.testing.assert_close(solution.value.double(), expected, rtol=1e-4, atol=1e-4)


# Conjugate gradients.


def test_a_converged_row_stands_still_while_others_go_on():
    """The first row is an eigenvector, done after one step; the second needs many."""
    matrix = torch.diag(torch.linspace(1, 50, 20, dtype=torch.float64))
    rhs = torch.zeros(2, 20, dtype=torch.float64)
    rhs[0, 3], rhs[1] = 2.0, 1.0
    solver = ConjugateGradient(tolerance=1e-6)
    applied = []

    class Counted(Dense):
        def apply(self, rows):
            applied.append(len(rows))
            return super().apply(rows)

    solution = solver.solve(Counted(matrix).damped(0.0), rhs)
    assert applied[0] == 2
    assert set(applied[1:-1]) == {1}  # the last product measures the residual of both
    assert applied[-1] == 2
    assert solution.steps == len(applied) - 1 > 5
    alone = solver.solve(Dense(matrix).damped(0.0), rhs[:1])
    assert alone.steps == 1
    assert torch.equal(solution.value[0], alone.value[0])


def test_conjugate_gradients_need_no_more_steps_than_eigenvalues():
    matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0, 3.0, 3.0], dtype=torch.float64))
    solution = ConjugateGradient(tolerance=1e-9).solve(Dense(matrix).damped(0.5), _rows(5))
    assert solution.steps <= 3
    assert solution.converged.all()


def test_conjugate_gradients_on_an_indefinite_operator_do_not_report_convergence():
    matrix = torch.diag(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    rhs = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.0, 1.0]], dtype=torch.float64)
    solution = ConjugateGradient(tolerance=1e-6).solve(Dense(matrix).damped(0.1), rhs)
    assert solution.converged.tolist() == [False, True]  # the second never meets the bad direction
    assert torch.isfinite(solution.value).all()
    assert solution.residual[0] > 0.1
    torch.testing.assert_close(solution.residual[1], torch.tensor(0.0, dtype=torch.float64))


def test_an_indefinite_hessian_of_a_network_is_noticed():
    made = case("mlp")
    lowest = torch.linalg.eigvalsh(reference.hessian(made.problem)).min()
    damping = float(-lowest) / 2  # too little
    solution = ConjugateGradient(tolerance=1e-6).solve(
        Hessian(made.objective, made.train).damped(damping), _rows(made.objective.space.size, 5)
    )
    assert not solution.converged.all()


# LiSSA.


def test_twenty_steps_of_lissa_do_not_suffice_where_many_do():
    operator, matrix = _problem()
    rhs = _rows(operator.size)
    few = Lissa(depth=20, scale=2.0, tolerance=1e-4).solve(operator, rhs)
    many = Lissa(depth=1000, scale=2.0, tolerance=1e-4).solve(operator, rhs)
    assert not few.converged.any()
    assert many.converged.all()
    assert (_residual(matrix, few.value, rhs) > 0.1).all()
    assert (_residual(matrix, many.value, rhs) < 1e-4).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lissa_with_too_small_a_scale_diverges_in_good_time_and_says_so(dtype):
    matrix = torch.diag(torch.tensor([100.0, 1.0], dtype=dtype))
    started = time.monotonic()
    solution = Lissa(depth=10**9, scale=1.0).solve(
        Dense(matrix).damped(0.1), torch.ones(1, 2, dtype=dtype)
    )
    assert time.monotonic() - started < 20
    assert not solution.converged.any()


def test_lissa_that_diverges_slowly_is_not_reported_as_converged():
    matrix = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
    solution = Lissa(depth=100, scale=1.9).solve(
        Dense(matrix).damped(0.0), torch.ones(1, 2, dtype=torch.float64)
    )
    assert torch.isfinite(solution.value).all()
    assert solution.residual[0] > 1
    assert not solution.converged.any()


@pytest.mark.parametrize(("scale", "converges"), [(2.0, True), (1.45, True), (1.35, False)])
def test_lissa_converges_exactly_when_the_scale_exceeds_half_the_largest_eigenvalue(
    scale, converges
):
    """The iteration multiplies the error by 1 - μ/scale; at μ = 2.8 the bound is 1.4."""
    matrix = torch.diag(torch.tensor([2.7, 1.0], dtype=torch.float64))
    solution = Lissa(depth=600, scale=scale, tolerance=1e-6).solve(
        Dense(matrix).damped(0.1), torch.ones(1, 2, dtype=torch.float64)
    )
    assert bool(solution.converged[0]) is converges


@pytest.mark.parametrize(("damp", "scale"), [(3e-3, 4.0), (5e-3, 10.0)])
@pytest.mark.parametrize("depth", [1, 17, 4000])
def test_the_papers_recursion_is_ours_with_damping_times_scale(damp, scale, depth):
    """FastIF: e ← v + (1 - damp) e - H e / scale, then e / scale; so its λ is damp · scale."""
    made = case("mlp")
    H = reference.gauss_newton(made.problem)
    v = _rows(len(H))
    e = v.clone()
    for _ in range(depth):
        e = v + (1 - damp) * e - e @ H / scale
    ours = Lissa(depth=depth, scale=scale).solve(Dense(H).damped(damp * scale), v)
    torch.testing.assert_close(ours.value, e / scale, rtol=1e-9, atol=1e-12)
    if depth == 4000:
        inverse = torch.linalg.inv(H + damp * scale * torch.eye(len(H), dtype=H.dtype))
        torch.testing.assert_close(ours.value, v @ inverse, rtol=1e-4, atol=1e-4)


def test_stochastic_lissa_follows_the_papers_recursion_on_the_examples_it_draws():
    made, damp, scale, depth = case("softmax"), 0.01, 10.0, 12
    operator = Hessian(made.objective, made.train).damped(damp * scale)
    v = _rows(operator.size)
    generator = torch.Generator().manual_seed(21)
    e = v.clone()
    for _ in range(depth):
        ids = torch.randint(len(made.train), (2,), generator=generator).tolist()
        e = v + (1 - damp) * e - e @ reference.hessian(made.problem, ids) / scale
    ours = Lissa(depth=depth, batch=2, scale=scale, seed=21).solve(operator, v)
    torch.testing.assert_close(ours.value, e / scale)


def test_repeats_are_averaged_and_their_spread_is_reported():
    made = case("softmax")
    operator = GaussNewton(made.objective, made.train).damped(0.1)
    rhs = _rows(operator.size)
    one = Lissa(depth=60, batch=2, scale=5.0, seed=4)
    singles = torch.stack([replace(one, seed=4 + t).solve(operator, rhs).value for t in range(5)])
    assert not torch.equal(singles[0], singles[1])
    solution = replace(one, repeats=5).solve(operator, rhs)
    mean = singles.mean(0)
    torch.testing.assert_close(solution.value, mean)
    deviation = ((singles - mean) ** 2).sum((0, 2)) / 4
    torch.testing.assert_close(solution.spread, deviation.sqrt() / mean.norm(dim=1))
    assert solution.steps == 300
    assert one.solve(operator, rhs).spread is None


def test_the_same_seed_gives_the_same_answer_and_another_seed_another():
    made = case("softmax")
    operator = GaussNewton(made.objective, made.train).damped(0.1)
    rhs = _rows(operator.size)
    values = [
        Lissa(depth=30, batch=2, scale=5.0, seed=seed).solve(operator, rhs).value
        for seed in (1, 1, 2)
    ]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


# Direct.


def test_direct_refuses_more_parameters_than_it_can_hold():
    module = torch.nn.Linear(10_001, 1, bias=False)
    examples = TensorExamples(torch.zeros(1, 10_001), torch.zeros(1, 1))
    operator = GaussNewton(ModuleObjective(module, SquaredError()), examples).damped(1.0)
    with pytest.raises(InputError, match=r"at most 10000 attributed parameters; got 10001.*dual"):
        Direct().solve(operator, torch.zeros(1, 10_001))


def test_direct_solves_an_indefinite_matrix_too():
    matrix = torch.diag(torch.tensor([1.0, -2.0], dtype=torch.float64))
    solution = Direct().solve(Dense(matrix).damped(0.5), torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(solution.value[0], torch.tensor([1 / 1.5, -1 / 1.5]).double())


def test_a_factor_of_another_damping_shows_in_the_residual_of_direct():
    operator, _ = _problem()
    factor = Direct().factor(operator)
    other = operator.operator.damped(1.0)
    assert not Direct().solve(other, _rows(operator.size), factor).converged.any()


def test_direct_refuses_a_singular_matrix():
    operator = Dense(torch.zeros(2, 2)).damped(0.0)
    with pytest.raises(InputError, match="damping"):
        Direct().solve(operator, torch.ones(1, 2))


# Dual.


def _classifier(classes: int) -> tuple[ModuleObjective, TensorExamples, reference.Problem]:
    generator = torch.Generator().manual_seed(classes)
    torch.manual_seed(classes)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, classes)
    ).double()
    inputs = torch.randn(11, 3, generator=generator, dtype=torch.float64)
    if classes == 1:
        loss, truth = SquaredError(), reference.squared_error
        labels = torch.randn(11, 1, generator=generator, dtype=torch.float64)
    else:
        loss, truth = CrossEntropy(), reference.cross_entropy
        labels = torch.randint(classes, (11,), generator=generator)
    names = [name for name, _ in module.named_parameters()]
    problem = reference.Problem(module, names, list(inputs.split(1)), list(labels.split(1)), truth)
    return ModuleObjective(module, loss), TensorExamples(inputs, labels), problem


@pytest.mark.parametrize("classes", [1, 2, 3, 5])  # 1: regression
@pytest.mark.parametrize("damping", [1e-4, 0.1, 10.0])
def test_dual_is_exact_for_any_number_of_outputs(classes, damping):
    objective, examples, problem = _classifier(classes)
    rhs = _rows(objective.space.size)
    solution = Dual().solve(GaussNewton(objective, examples).damped(damping), rhs)
    matrix = reference.gauss_newton(problem)
    inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("block_rows", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 32])
def test_dual_does_not_depend_on_blocks_and_batches(block_rows, batch_size):
    objective, examples, problem = _classifier(3)
    rhs = _rows(objective.space.size)
    operator = GaussNewton(objective, examples, batch_size=batch_size).damped(DAMPING)
    solver = Dual(block_rows=block_rows)
    kernel = solver.factor(operator)["kernel"]
    torch.testing.assert_close(kernel, kernel.T)
    matrix = reference.gauss_newton(problem)
    torch.testing.assert_close(kernel.diagonal().sum() / 11, matrix.diagonal().sum())
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solver.solve(operator, rhs).value, rhs @ inverse)


def test_dual_takes_a_sample_of_rows_as_the_mean_over_them():
    objective, examples, problem = _classifier(3)
    ids = [2, 9, 9, 4, 7]
    operator = GaussNewton(objective, examples, torch.tensor(ids), batch_size=2)
    rhs = _rows(objective.space.size)
    solution = Dual().solve(operator.damped(DAMPING), rhs)
    matrix = reference.gauss_newton(problem, ids)
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solution.value, rhs @ inverse)


def test_the_kernel_of_dual_serves_every_damping():
    objective, examples, problem = _classifier(3)
    operator = GaussNewton(objective, examples)
    rhs = _rows(objective.space.size)
    factor = Dual().factor(operator.damped(7.0))
    matrix = reference.gauss_newton(problem)
    for damping in (1e-3, 0.1, 50.0):
        solution = Dual().solve(operator.damped(damping), rhs, factor)
        inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
        torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-8, atol=1e-8)
        assert solution.damping == damping


def test_a_kernel_of_other_examples_shows_in_the_residual_that_is_measured():
    objective, examples, _ = _classifier(3)
    other = TensorExamples(examples.inputs.flip(0) * 3, examples.labels)
    factor = Dual().factor(GaussNewton(objective, other).damped(1e-3))
    operator = GaussNewton(objective, examples).damped(1e-3)
    rhs = _rows(objective.space.size)
    value = Dual().solve(operator, rhs, factor).value
    assert ((rhs - operator.apply(value)).norm(dim=1) / rhs.norm(dim=1) > 0.1).all()


@pytest.mark.parametrize("damping", [1e-1, 1e-3, 1e-5])
def test_dual_reports_the_rounding_of_single_precision_to_an_order_of_magnitude(damping):
    """Against the residual in double precision; only what the small system lost is counted."""
    torch.manual_seed(0)
    module = torch.nn.Linear(20, 3)
    examples = TensorExamples(3 * torch.randn(40, 20), torch.randint(3, (40,)))
    operator = GaussNewton(ModuleObjective(module, CrossEntropy()), examples)
    rhs = _rows(63).float()
    solution = Dual().solve(operator.damped(damping), rhs)
    exact = GaussNewton(ModuleObjective(module.double(), CrossEntropy()), _double(examples))
    left = rhs.double() - exact.damped(damping).apply(solution.value.double())
    measured = left.norm(dim=1) / rhs.double().norm(dim=1)
    assert (solution.residual.double() > measured / 10 - 1e-6).all()


def _double(examples: TensorExamples) -> TensorExamples:
    return TensorExamples(examples.inputs.double(), examples.labels)


def test_dual_refuses_a_kernel_whose_rows_stand_in_another_order():
    objective, examples, _ = _classifier(3)
    operator = GaussNewton(objective, examples, batch_size=4).damped(DAMPING)
    factor = Dual().factor(operator)
    other = GaussNewton(objective, examples, batch_size=3).damped(DAMPING)
    with pytest.raises(InputError, match=r"batch size 3.*got one taken with 4"):
        Dual().solve(other, _rows(objective.space.size), factor)


def test_dual_refuses_more_examples_than_it_can_hold():
    examples = TensorExamples(torch.zeros(20_001, 1), torch.zeros(20_001, 1))
    objective = ModuleObjective(torch.nn.Linear(1, 1), SquaredError())
    operator = GaussNewton(objective, examples).damped(1.0)
    with pytest.raises(InputError, match=r"at most 20000 root rows.*got 20001 x 1.*rows"):
        Dual().solve(operator, torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("build", "name", "bad"),
    [
        (ConjugateGradient, "tolerance", 0.0),
        (ConjugateGradient, "max_steps", 0),
        (Lissa, "scale", -1.0),
        (Lissa, "scale", float("nan")),
        (Lissa, "depth", 0),
        (Lissa, "batch", 0),
        (Lissa, "repeats", -2),
        (Lissa, "seed", -1),
        (Dual, "block_rows", 0),
    ],
)
def test_a_hyper_parameter_that_makes_no_sense_is_refused_by_name(build, name, bad):
    with pytest.raises(InputError, match=rf"\[solver\] {name}: expected .* got {bad}"):
        build(**{name: bad})


def test_dual_refuses_a_hessian_and_a_damping_of_zero():
    made = case("mlp")
    rhs = _rows(made.objective.space.size)
    with pytest.raises(InputError, match=r"Gauss-Newton.*got Hessian with damping 0.1.*cg"):
        Dual().solve(Hessian(made.objective, made.train).damped(0.1), rhs)
    with pytest.raises(InputError, match=r"damping > 0; got GaussNewton with damping 0"):
        Dual().solve(GaussNewton(made.objective, made.train).damped(0.0), rhs)
