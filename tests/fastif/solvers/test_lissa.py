"""LiSSA: the recursion of the FastIF paper, default settings and repeats."""

from dataclasses import fields, replace

import pytest
import reference
import torch
from cases import case
from systems import Mean, add_damping, problem, random_rows, residuals

from fastif import ConjugateGradient, GaussNewton, Hessian, InputError, Lissa, Spectral
from fastif.curvature import DenseOperator
from fastif.solvers.check_positive import check_positive


def test_lissa_needs_more_than_twenty_steps():
    operator, matrix = problem()
    rhs = random_rows(operator.size)
    few = Lissa(depth=20, scale=2.0, tolerance=1e-4).solve(operator, rhs)
    many = Lissa(depth=1000, scale=2.0, tolerance=1e-4).solve(operator, rhs)
    assert not few.converged.any()
    assert many.converged.all()
    assert (residuals(matrix, few.value, rhs) > 0.1).all()
    assert (residuals(matrix, many.value, rhs) < 1e-4).all()


@pytest.mark.parametrize(("damp", "scale"), [(3e-3, 4.0), (5e-3, 10.0)])
@pytest.mark.parametrize("depth", [1, 17, 4000])
def test_the_recursion_of_the_paper_has_damping_times_scale(damp, scale, depth):
    """The FastIF code has e ← v + (1 - damp) e - H e / scale, then e / scale: λ = damp · scale."""
    made = case("mlp")
    H = reference.gauss_newton(made.problem)
    v = random_rows(len(H))
    e = v.clone()
    for _ in range(depth):
        e = v + (1 - damp) * e - e @ H / scale
    ours = Lissa(depth=depth, scale=scale).solve(DenseOperator(H).with_damping(damp * scale), v)
    torch.testing.assert_close(ours.value, e / scale, rtol=1e-9, atol=1e-12)
    if depth == 4000:
        inverse = torch.linalg.inv(H + damp * scale * torch.eye(len(H), dtype=H.dtype))
        torch.testing.assert_close(ours.value, v @ inverse, rtol=1e-4, atol=1e-4)


def test_stochastic_lissa_follows_the_recursion_of_the_paper_on_its_sampled_examples():
    made, damp, scale, depth = case("softmax"), 0.01, 10.0, 12
    operator = Hessian(made.objective, made.train).with_damping(damp * scale)
    v = random_rows(operator.size)
    generator = torch.Generator().manual_seed(21)
    e = v.clone()
    for _ in range(depth):
        ids = torch.randint(len(made.train), (2,), generator=generator).tolist()
        e = v + (1 - damp) * e - e @ reference.hessian(made.problem, ids) / scale
    ours = Lissa(depth=depth, batch=2, scale=scale, seed=21).solve(operator, v)
    torch.testing.assert_close(ours.value, e / scale)


def test_repeats_are_averaged_and_their_spread_is_reported():
    made = case("softmax")
    operator = GaussNewton(made.objective, made.train).with_damping(0.1)
    rhs = random_rows(operator.size)
    solver = Lissa(depth=20, batch=2, scale=5.0, seed=4)
    singles = torch.stack(
        [replace(solver, seed=4 + t).solve(operator, rhs).value for t in range(4)]
    )
    assert not torch.equal(singles[0], singles[1])
    solution = replace(solver, repeats=4).solve(operator, rhs)
    mean = singles.mean(0)
    torch.testing.assert_close(solution.value, mean)
    deviation = ((singles - mean) ** 2).sum((0, 2)) / 3
    torch.testing.assert_close(solution.spread, deviation.sqrt() / mean.norm(dim=1))
    assert solution.steps == 80
    assert solver.solve(operator, rhs).spread is None


def test_the_seed_determines_the_solution():
    made = case("softmax")
    operator = GaussNewton(made.objective, made.train).with_damping(0.1)
    rhs = random_rows(operator.size)
    values = [
        Lissa(depth=30, batch=2, scale=5.0, seed=seed).solve(operator, rhs).value
        for seed in (1, 1, 2)
    ]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


# Repeats on separate workers.


def _make_sampled_mean(damping: float = 0.1, seed: int = 3):
    """Return the damped mean of 20 matrices of rank 2, so that mini-batches differ much."""
    roots = random_rows(40, 6, seed).T.reshape(20, 2, 6)
    matrices = roots.mT @ roots
    return Mean(matrices).with_damping(damping), add_damping(matrices.mean(0), damping)


@pytest.mark.parametrize("solver", [Lissa(depth=40, batch=2, scale=15.0), Lissa(batch=4)])
def test_separate_repeats_merge_to_the_joint_solution(solver):
    operator, matrix = _make_sampled_mean()
    rhs = random_rows(6)
    rhs[1, 0] = torch.nan
    solver = replace(solver, repeats=3, seed=8)
    factor = solver.factor(operator)
    together = solver.solve(operator, rhs, factor)
    apart = [solver.run_repeat(operator, rhs, index, factor) for index in range(3)]
    merged = solver.merge_runs(operator, rhs, apart)
    for name in (item.name for item in fields(together)):
        torch.testing.assert_close(
            getattr(merged, name), getattr(together, name), equal_nan=True, msg=name
        )
    good = [0, 2]
    measured = residuals(matrix, merged.value[good], rhs[good])
    torch.testing.assert_close(merged.residual[good], measured)
    assert merged.residual[1] == torch.inf
    single = replace(solver, repeats=1, seed=10).solve(operator, rhs, factor)
    torch.testing.assert_close(single.value[good], apart[2].value[good])


def test_merging_one_repeat_adds_its_residual():
    operator, matrix = _make_sampled_mean()
    rhs = random_rows(6)
    solver = Lissa(depth=40, batch=2, scale=15.0)
    merged = solver.merge_runs(operator, rhs, iter([solver.run_repeat(operator, rhs, 0)]))
    assert merged.spread is None
    torch.testing.assert_close(merged.residual, residuals(matrix, merged.value, rhs))


def test_a_step_on_mini_batches_is_unbiased():
    """The mean over repeats equals the recursion on all examples within sampling error."""
    operator, matrix = _make_sampled_mean()
    rhs, runs, depth, scale = random_rows(6, 2), 400, 25, 15.0
    solver = Lissa(depth=depth, batch=2, scale=scale)
    values = torch.stack([solver.run_repeat(operator, rhs, t).value for t in range(runs)])
    e = rhs.clone()
    for _ in range(depth):
        e = rhs + e - e @ matrix / scale
    error = (values.mean(0) - e / scale) / (values.std(0) / runs**0.5)
    assert error.abs().max() < 4.5
    assert error.abs().mean() < 1.5
    assert (values.std(0) > 1e-3 * values.mean(0).abs()).any()


# Default settings.


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("damping", [0.02, 1.0])
def test_the_defaults_converge_for_every_batch_size(batch, damping):
    operator, matrix = _make_sampled_mean(damping)
    rhs = random_rows(6)
    solution = Lissa(batch=batch, max_steps=100_000).solve(operator, rhs)
    assert solution.converged.all()
    assert (residuals(matrix, solution.value, rhs) <= 0.1 + 1e-9).all()


def test_the_defaults_converge_on_a_network_for_gauss_newton_and_hessian():
    made = case("mlp")
    rhs = random_rows(made.objective.space.size)
    curvature = GaussNewton(made.objective, made.train)
    for operator in (
        curvature.with_damping(0.2),
        Hessian(made.objective, made.train).with_damping(1.0),
    ):
        solution = Lissa(batch=4, max_steps=2000).solve(operator, rhs)
        assert solution.converged.all()


def test_the_averaged_iterate_converges_where_the_last_one_does_not():
    operator, _ = _make_sampled_mean(0.02)
    rhs, solver = random_rows(6), Lissa(batch=1, tolerance=0.05, max_steps=100_000)
    factor = solver.factor(operator)
    averaged = solver.solve(operator, rhs, factor)
    last = replace(solver, depth=averaged.steps).solve(operator, rhs, factor)
    assert averaged.converged.all()
    assert not last.converged.any()


def test_a_converged_right_hand_side_leaves_the_recursion():
    operator = DenseOperator(torch.diag(torch.tensor([1.0, 1e-4]).double())).with_damping(1e-4)
    rhs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    solver = Lissa(tolerance=1e-3, max_steps=200)
    solution = solver.solve(operator, rhs)
    assert solution.converged.tolist() == [True, False]
    assert solution.steps == 200
    assert solver.solve(operator, rhs[:1]).steps < 200


def test_max_steps_end_the_series():
    operator, matrix = _make_sampled_mean(1e-4)
    rhs = random_rows(6)
    solution = Lissa(batch=1, max_steps=77).solve(operator, rhs)
    assert solution.steps == 77
    assert not solution.converged.any()
    torch.testing.assert_close(solution.residual, residuals(matrix, solution.value, rhs))


def test_the_scale_bounds_the_eigenvalues_of_every_batch():
    made = case("mlp")
    operator = GaussNewton(made.objective, made.train).with_damping(0.1)
    each = [reference.gauss_newton(made.problem, [i]) for i in range(len(made.train))]
    largest = max(float(torch.linalg.eigvalsh(matrix)[-1]) for matrix in each)
    mean = float(torch.linalg.eigvalsh(sum(each) / len(each))[-1])
    scales = [float(Lissa(batch=b).factor(operator)["scale"]) for b in (1, 8)]
    assert all(s >= largest / b + mean + 0.1 - 1e-9 for s, b in zip(scales, (1, 8), strict=True))
    assert scales[0] < 2.5 * (largest + mean)
    assert scales[1] < scales[0]
    assert Lissa(scale=2.0).factor(operator) == {}


# The preset.


def test_the_preset_has_the_settings_of_the_paper():
    preset = Lissa(preset="fastif")
    settings = (preset.depth, preset.repeats, preset.batch, preset.scale, preset.preconditioner)
    assert settings == (1000, 1, 1, 1e4, "none")
    assert preset.effective_damping == pytest.approx(50)
    assert Lissa().effective_damping is None
    assert replace(preset, seed=3).depth == 1000
    operator, _ = problem()
    rhs = random_rows(operator.size)
    same = Lissa(depth=1000, batch=1, scale=1e4)
    assert torch.equal(preset.solve(operator, rhs).value, same.solve(operator, rhs).value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("depth", 7), ("repeats", 2), ("batch", 8), ("scale", 5.0), ("preconditioner", "ekfac")],
)
def test_a_preset_and_another_value_are_refused(name, value):
    with pytest.raises(InputError, match=rf'\[solver\] {name}: .*preset "fastif".* got {value}'):
        Lissa(preset="fastif", **{name: value})


@pytest.mark.parametrize(
    ("name", "bad"),
    [("depth", "all"), ("scale", "big"), ("preconditioner", "kfac"), ("preset", "fast")],
)
def test_an_unknown_literal_is_refused(name, bad):
    solver = Lissa()
    object.__setattr__(solver, name, bad)  # rejected by the type checker, too
    with pytest.raises(InputError, match=rf'\[solver\] {name}: expected .*".*got {bad}'):
        check_positive(solver)


@pytest.mark.parametrize("kind", [Lissa, ConjugateGradient, Spectral])
def test_a_tolerance_above_1_is_refused(kind):
    """x = 0 has a relative residual of 1, so everything would converge."""
    kind(tolerance=1.0)
    with pytest.raises(InputError, match=r"\[solver\] tolerance: expected at most 1"):
        kind(tolerance=1.5)
