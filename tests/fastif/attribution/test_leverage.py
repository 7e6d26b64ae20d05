"""Effects with leverage, against dense matrices."""

import pytest
import reference
import torch
from cases import NAMES, case
from torch import nn

from fastif import (
    Attributor,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    Hessian,
    InputError,
    ModuleObjective,
    Spectral,
    SquaredError,
    TensorExamples,
    all_ids,
)
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from fastif.solvers.gram import make_shifted_inverse

DAMPING, N = 0.05, 12
QUERIES = torch.tensor([1, 5, 6])
OTHERS = [Dual(rank=500), ConjugateGradient(tolerance=1e-12, max_steps=500)]


def _attributor(name, solver=None, batch_size=5, **options):
    made = case(name, N, batch_size)
    ids = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    operator = GaussNewton(made.objective, made.train, ids).with_damping(DAMPING)
    options = {"search": ExhaustiveSearch(), **options}
    return Attributor(made.objective, made.train, operator, solver or Direct(), **options), made


def _effects(attributor, made):
    """Effects [q n] and the certificate."""
    attribution = attributor(made.train, QUERIES)
    effects = attribution.influences.removal_effect
    return torch.zeros(len(QUERIES), N).to(effects).scatter(
        1, attribution.influences.ids, effects
    ), attribution.certificate


def _dense(made):
    """Dense 1/n ∇L(query)ᵀ (A - H_i / n)⁻¹ ∇L(i), one matrix for each training example."""
    train = reference.gradients(made.problem)
    damped = reference.gauss_newton(made.problem) + DAMPING * torch.eye(train.shape[1]).to(train)
    columns = []
    for i in range(N):
        without = damped - reference.gauss_newton(made.problem, [i]) / N
        columns.append(train[QUERIES] @ torch.linalg.solve(without, train[i]) / N)
    return torch.stack(columns, 1)


def _check_dense(name, solver):
    attributor, made = _attributor(name, solver)
    actual, certificate = _effects(attributor, made)
    assert certificate.leverage == "on"
    expected = _dense(made)
    single = torch.float32 in (actual.dtype, expected.dtype)
    near = {"rtol": 2e-3, "atol": 1e-5} if single else {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(actual, expected.to(actual), **near)


@pytest.mark.default_cases
@pytest.mark.parametrize("solver", [Direct(), Dual()], ids=lambda solver: solver.kind)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "bert"])
def test_every_effect_equals_the_dense_one_without_the_row(name, solver):
    _check_dense(name, solver)


@pytest.mark.parametrize("solver", OTHERS, ids=["low rank", "cg"])
def test_leverage_does_not_depend_on_the_solver_for_few_parameters(solver):
    _check_dense("mlp", solver)


@pytest.mark.long
@pytest.mark.parametrize("solver", [Direct(), Dual(), *OTHERS])
def test_leverage_of_a_transformer(solver):
    _check_dense("bert", solver)


@pytest.mark.parametrize("solver", [Direct(), Dual(block_rows=3)], ids=lambda solver: solver.kind)
def test_batches_and_their_order_do_not_matter(solver):
    first, _ = _effects(*_attributor("mlp", solver, 1))
    for size in (4, 32):
        other, _ = _effects(*_attributor("mlp", solver, size))
        torch.testing.assert_close(other, first, rtol=1e-9, atol=1e-12)
    attributor, made = _attributor("mlp", solver)
    parts = [attributor(made.train, QUERIES[[i]]).influences.removal_effect for i in range(3)]
    whole = attributor(made.train, QUERIES).influences.removal_effect
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-12)


REASONS = {
    "it takes": {"solver": Direct()},
    "the solver keeps no factorisation": {"solver": ConjugateGradient()},
    "Hessian has no factor rows": {"solver": Direct(), "kind": Hessian},
    "does not cover the full training set": {"solver": Direct(), "ids": torch.arange(5)},
    "not asked for": {"solver": Direct(), "leverage": "off"},
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_certificate_records_why_leverage_is_off(monkeypatch, reason):
    monkeypatch.setattr("fastif.attribution.leverage.MAX_AUTO_COST", 10)
    monkeypatch.setattr("fastif.attribution.leverage.MAX_DENSE_PARAMS", 1)
    chosen = {"kind": GaussNewton, "ids": None, "leverage": "auto", **REASONS[reason]}
    made = case("softmax", 40)  # 15 parameters: 80 factor rows cost more than a factorisation
    operator = chosen["kind"](made.objective, made.train, chosen["ids"]).with_damping(3.0)
    options = {"leverage": chosen["leverage"]}
    attribute = Attributor(made.objective, made.train, operator, chosen["solver"], **options)
    leverage = attribute(made.train, QUERIES).certificate.leverage
    assert leverage.startswith("off: ")
    assert reason in leverage


def test_a_gradient_outside_the_factor_rows_has_no_leverage():
    """A softmax so confident of a wrong label that its probabilities round to 0 and 1."""
    model = nn.Linear(1, 2, bias=False)
    model.weight.data[:] = torch.tensor([[60.0], [-60.0]])
    objective = ModuleObjective(model, CrossEntropy())
    train = TensorExamples(torch.tensor([[1.0], [0.01], [0.02]]), torch.tensor([1, 0, 1]))
    operator = GaussNewton(objective, train).with_damping(0.1)
    attribute = Attributor(objective, train, operator, Direct())
    leverage = attribute(train, torch.tensor([1])).certificate.leverage
    assert leverage == "off: the gradients of the loss are no combinations of its factor rows"
    with pytest.raises(InputError, match="no combinations of its factor rows"):
        Attributor(objective, train, operator, Direct(), leverage="on")(train, torch.tensor([1]))


@pytest.mark.parametrize(
    "operator",
    [
        lambda made: Hessian(made.objective, made.train).with_damping(3.0),
        lambda made: GaussNewton(made.objective, made.train, torch.arange(5)).with_damping(0.1),
    ],
)
def test_leverage_on_is_refused_for_other_curvatures(operator):
    made = case("softmax", N)
    with pytest.raises(InputError, match=r"\[curvature\] leverage"):
        Attributor(made.objective, made.train, operator(made), Direct(), leverage="on")(
            made.train, QUERIES
        )


def test_leverage_on_works_with_any_solver(monkeypatch):
    monkeypatch.setattr("fastif.attribution.leverage.MAX_DENSE_PARAMS", 1)
    for solver in (*OTHERS, Spectral(negligible=1e-9)):
        attributor, made = _attributor("linear", solver, leverage="on")
        actual, certificate = _effects(attributor, made)
        assert certificate.leverage == "on"
        torch.testing.assert_close(actual, _dense(made), rtol=1e-6, atol=1e-9)


def test_blocks_approximate_scores_and_control_sample_use_leverage():
    attributor, made = _attributor("mlp")
    scorer = attributor.solve(made.train, QUERIES).scorer
    expected = _dense(made)
    ids = torch.arange(N).expand(3, N)
    split = layerwise_influence(
        scorer.gradients,
        made.train,
        scorer.s_test,
        ids,
        ParameterBlocks.from_layers(made.objective.space),
        weights=scorer.weights,
    )
    torch.testing.assert_close(split.sum(2), expected, rtol=1e-6, atol=1e-9)
    for options in (
        {"search": ExhaustiveSearch(rank=100)},
        {"search": ExhaustiveSearch(rank=1)},
        {"precision": "bf16"},
    ):
        coarse, _ = _effects(_attributor("mlp", **options)[0], made)
        error = (coarse - expected).abs().max() / expected.abs().max()
        assert error < (1e-6 if options.get("search") == ExhaustiveSearch(rank=100) else 0.5)
    control = attributor.solve_to_score(made.train, QUERIES).control
    assert control.scores.shape == (3, N)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2_718_281_828))
    torch.testing.assert_close(control.scores / N, expected[:, order], rtol=1e-6, atol=1e-9)


def test_an_ensemble_has_leverage_only_where_all_members_do():
    members = [_attributor("mlp", solver)[0] for solver in (Direct(), Dual())]
    made = case("mlp", N)
    mean = Ensemble(members)(made.train, QUERIES)
    assert mean.certificate.leverage == "on"
    actual = (
        torch.zeros(3, N).double().scatter(1, mean.influences.ids, mean.influences.removal_effect)
    )
    torch.testing.assert_close(actual, _dense(made), rtol=1e-6, atol=1e-9)
    mixed = [members[0], _attributor("mlp", leverage="off")[0]]
    assert Ensemble(mixed)(made.train, QUERIES).certificate.leverage.startswith("off")


def test_a_nonfinite_gradient_changes_no_other_effect():
    made = case("softmax", N)
    inputs = made.train.inputs.clone()
    inputs[4] = torch.nan
    train = TensorExamples(inputs, made.train.labels)
    for solver in (Direct(), Dual()):
        operator = GaussNewton(made.objective, train).with_damping(DAMPING)
        attribution = Attributor(made.objective, train, operator, solver)(train, QUERIES)
        assert attribution.certificate.leverage == "on"
        assert attribution.influences.nonfinite_ids.tolist() == [4]
        train_rows = reference.gradients(made.problem)
        kept = [i for i in range(N) if i != 4]
        damped = reference.gauss_newton(made.problem, kept) * len(kept) / N
        damped += DAMPING * torch.eye(15).double()
        for query, row in enumerate(QUERIES.tolist()):
            without = damped - reference.gauss_newton(made.problem, [7]) / N
            effect = train_rows[row] @ torch.linalg.solve(without, train_rows[7]) / N
            where = attribution.influences.ids[query] == 7
            torch.testing.assert_close(
                attribution.influences.removal_effect[query][where][0], effect
            )


def test_a_row_with_leverage_one_has_no_effect():
    """Only row 0 has the second feature: without row 0 and damping the system is singular."""
    points = torch.tensor([[0.4, 2.0], [1.0, 0.0], [-0.5, 0.0], [2.0, 0.0]]).double()
    module = nn.Linear(2, 1, bias=False).double()
    train = TensorExamples(points, torch.tensor([[1.0], [-1.0], [0.5], [2.0]]).double())
    objective = ModuleObjective(module, SquaredError())
    operator = GaussNewton(objective, train).with_damping(0.0)
    attribution = Attributor(objective, train, operator, Direct(), leverage="on")(
        train, all_ids(train)
    )
    assert attribution.influences.nonfinite_ids.tolist() == [0]
    rows = 2 * (module(points) - train.labels).detach() * points
    hessians = 2 * points[:, :, None] * points[:, None, :] / len(points)
    for place in range(4):
        effects = attribution.influences.removal_effect[place][: len(points) - 1]
        for train_id, effect in zip(
            attribution.influences.ids[place][:3].tolist(), effects, strict=True
        ):
            without = hessians.sum(0) - hessians[train_id]
            expected = rows[place] @ torch.linalg.solve(without, rows[train_id]) / len(points)
            torch.testing.assert_close(effect, expected)


def test_extracted_blocks_equal_those_of_the_dense_inverse():
    factor = torch.randn(30, 40, generator=torch.Generator().manual_seed(1)).double()
    places = torch.randperm(30, generator=torch.Generator().manual_seed(2)).view(10, 3)
    kernel = factor @ factor.T
    expected = torch.linalg.inv(kernel + 0.3 * torch.eye(30))
    inverse = make_shifted_inverse(kernel, 0.3)
    assert inverse.is_cholesky
    for block, some in zip(inverse.extract_blocks(places), places, strict=True):
        torch.testing.assert_close(block, expected[some][:, some])
    low = factor[:, :5] @ factor[:, :5].T - 0.01 * torch.eye(30)  # indefinite: Cholesky fails
    inverse = make_shifted_inverse(low, 1e-3)
    assert not inverse.is_cholesky
    dense = inverse(torch.eye(30).double())
    for block, some in zip(inverse.extract_blocks(places), places, strict=True):
        torch.testing.assert_close(block, dense[some][:, some])
