"""Selected damping against a dense search, and against real retraining."""

import pytest
import reference
import torch
from cases import case
from sklearn.datasets import load_digits
from torch import nn

from fastif import (
    CrossEntropy,
    Ekfac,
    GaussNewton,
    InputError,
    ModuleObjective,
    Spectral,
    TensorExamples,
)
from fastif.data.examples import all_ids
from fastif.evaluation.select_damping import (
    DampingSelection,
    find_clearly_worse,
    sample_halves,
    select_damping_by_retraining,
)
from fastif.numerics.correlation import linear_datamodelling_score, margins, pearson


def _outcomes(halves, queries):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(len(halves), queries, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", ["mlp", "layernorm"])
@pytest.mark.parametrize("approximate", [False, True])
def test_the_agreement_equals_the_dense_one(name, approximate):
    made = case(name)
    halves = sample_halves(len(made.train), 5, seed=1)
    outcomes = _outcomes(halves, len(made.train))
    curvature = GaussNewton(made.objective, made.train.with_batch_size(4))
    choice = select_damping_by_retraining(
        curvature, made.train, halves, outcomes, approximate=Spectral() if approximate else None
    )
    gradients = reference.gradients(made.problem)
    matrix = (
        Ekfac.fit(curvature).to_dense() if approximate else reference.gauss_newton(made.problem)
    )
    for damping, agreement in zip(choice.dampings, choice.agreement, strict=True):
        effects = reference.removal_effects(gradients, gradients, matrix, damping)
        sums = torch.stack([effects[:, half].sum(1) for half in halves], dim=1)
        expected = pearson(sums, outcomes.T).mean()
        tolerance = 2e-2 if approximate else 1e-4  # EK-FAC omits directions of small curvature
        assert agreement == pytest.approx(float(expected), abs=tolerance)
    assert choice.agreement[choice.dampings.index(choice.damping)] == max(choice.agreement)


def test_the_agreement_does_not_depend_on_batches():
    made = case("mlp")
    halves = sample_halves(len(made.train), 4, seed=2)
    outcomes = _outcomes(halves, len(made.train))
    first, other = (
        select_damping_by_retraining(
            GaussNewton(made.objective, made.train.with_batch_size(size)),
            made.train,
            halves,
            outcomes,
        )
        for size in (2, 5)
    )
    assert first.agreement == pytest.approx(other.agreement, abs=1e-6)
    assert first.damping == pytest.approx(other.damping)


def test_outcomes_of_another_shape_are_refused():
    made = case("mlp")
    halves = sample_halves(len(made.train), 3, seed=0)
    with pytest.raises(InputError, match="one outcome of every query"):
        select_damping_by_retraining(
            GaussNewton(made.objective, made.train), made.train, halves, torch.zeros(2, 1)
        )


@pytest.mark.parametrize("outcome", [1.0, torch.nan])
def test_constant_outcomes_are_refused(outcome):
    """Every query has equal outcomes under all models, or NaN."""
    made = case("mlp")
    halves = sample_halves(len(made.train), 3, seed=0)
    outcomes = torch.full((3, len(made.train)), outcome)
    with pytest.raises(InputError, match="no correlation at any damping"):
        select_damping_by_retraining(
            GaussNewton(made.objective, made.train), made.train, halves, outcomes
        )


def _make_confident_model(logit):
    """A linear model with this logit for its class on every row, wrong on every second one."""
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(4))
    points[:, 0] = 1
    model = nn.Linear(3, 2, bias=False)
    model.weight.data = torch.tensor([[logit, 0.0, 0.0], [0.0, 0.0, 0.0]])
    return ModuleObjective(model, CrossEntropy()), TensorExamples(points, torch.arange(12) % 2)


@pytest.mark.parametrize("approximate", [None, Spectral()])
@pytest.mark.parametrize("most", [4000, 5])
def test_a_curvature_of_zero_is_refused(monkeypatch, most, approximate):
    objective, train = _make_confident_model(300.0)  # exp(-300) is zero in single precision
    monkeypatch.setattr("fastif.evaluation.retraining_predictor.MAX_GRAM_ROWS", most)
    curvature, halves = GaussNewton(objective, train), sample_halves(12, 3, seed=0)
    outcomes = _outcomes(halves, 12)
    with pytest.raises(InputError, match="a curvature of zero"):
        select_damping_by_retraining(curvature, train, halves, outcomes, approximate=approximate)


def test_a_damping_without_a_correlation_is_not_selected():
    """With little curvature, effects at the smallest λ overflow single precision."""
    objective, train = _make_confident_model(80.0)
    train.inputs[:6, 2] = 0  # of the six rows of the curvature, so none lies along this input
    curvature = GaussNewton(objective, train, torch.arange(6))
    halves = sample_halves(12, 5, seed=0)
    wrong = TensorExamples(train.inputs[7::2], train.labels[7::2])
    choice = select_damping_by_retraining(curvature, wrong, halves, _outcomes(halves, 3))
    agreement = torch.tensor(choice.agreement, dtype=torch.float64)
    assert bool(agreement[0].isnan())
    assert bool(agreement[-1].isfinite())
    chosen = choice.agreement[choice.dampings.index(choice.damping)]
    assert chosen == float(agreement.nan_to_num(-2).max())


def _train_with_penalty(penalty):
    """Logistic regression at the minimum of 1/n Σ L + penalty/2 ‖w‖², by Newton's method."""
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    labels = (points[:, 0] + torch.randn(40, generator=generator) > 0).long()
    model = nn.Linear(4, 2, bias=False).double()

    def loss(weights):
        data = nn.functional.cross_entropy(points @ weights.view(2, 4).T, labels)
        return data + penalty / 2 * weights.square().sum()

    weights = torch.zeros(8, dtype=torch.float64)
    for _ in range(30):
        step = torch.linalg.solve(torch.func.hessian(loss)(weights), torch.func.grad(loss)(weights))
        weights = weights - step
    model.weight.data = weights.view(2, 4)
    full = torch.func.hessian(loss)(weights)  # Hessian of the penalised loss, penalty included
    objective = ModuleObjective(model, CrossEntropy(), penalty=penalty)
    return objective, TensorExamples(points, labels), full


@pytest.mark.parametrize("penalty", [1e-3, 0.05, 100.0])
def test_a_coupled_penalty_counts_once(penalty):
    """The agreement and the selected operator, against the dense Hessian of the objective."""
    objective, train, full = _train_with_penalty(penalty)
    curvature = GaussNewton(objective, train)
    halves = sample_halves(40, 5, seed=1)
    outcomes = _outcomes(halves, 40)
    choice = select_damping_by_retraining(curvature, train, halves, outcomes)
    rows = torch.stack(
        [
            torch.func.grad(lambda w, x=x, y=y: nn.functional.cross_entropy(w.view(2, 4) @ x, y))(
                objective.params["weight"].flatten()
            )
            for x, y in zip(train.inputs, train.labels, strict=True)
        ]
    )
    identity = torch.eye(8, dtype=torch.float64)
    for damping, agreement in zip(choice.dampings, choice.agreement, strict=True):
        effects = rows @ torch.linalg.inv(full + damping * identity) @ rows.T
        sums = torch.stack([effects[:, half].sum(1) for half in halves], dim=1)
        assert agreement == pytest.approx(float(pearson(sums, outcomes.T).mean()), abs=1e-6)
    assert min(choice.dampings) >= 0
    assert choice.penalty == penalty
    operator = curvature.with_damping(choice.damping)
    assert operator.damping == choice.effective_damping
    torch.testing.assert_close(operator.to_dense(), full + choice.damping * identity)


def test_a_damping_of_zero_is_no_edge():
    assert not DampingSelection(0.0, "retraining", (0.0, 1.0), (0.3, 0.2), penalty=0.1).is_at_edge
    assert DampingSelection(1.0, "retraining", (0.0, 1.0), (0.2, 0.3), penalty=0.1).is_at_edge


def test_an_edge_is_reported():
    assert DampingSelection(1.0, "retraining", (0.1, 1.0), (0.2, 0.3)).is_at_edge
    assert not DampingSelection(1.0, "retraining", (0.1, 1.0, 10.0), (0.2, 0.3, 0.1)).is_at_edge


def _fit(points, labels, seed):
    """A small network on digits, trained well beyond zero training error."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points), labels).backward()
        optimiser.step()
    return model


@pytest.mark.long
def test_six_halves_find_a_damping_near_the_best_of_forty_others(monkeypatch):
    """Real retraining: λ selected on 6 halves, evaluated on 40 other ones."""
    digits = load_digits()
    points = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    train = TensorExamples(points[:400], labels[:400])
    queries = TensorExamples(points[400:500], labels[400:500])

    def retrain_margins(halves):
        models = [_fit(points[half], labels[half], 100 + i) for i, half in enumerate(halves)]
        return torch.stack([margins(m(queries.inputs).detach(), queries.labels) for m in models])

    objective = ModuleObjective(_fit(train.inputs, train.labels, 0), CrossEntropy())
    few, many = sample_halves(400, 6, seed=7), sample_halves(400, 40, seed=8)
    curvature = GaussNewton(objective, train.with_batch_size(100))
    outcomes = retrain_margins(few)
    choice = select_damping_by_retraining(curvature, queries, few, outcomes)
    truth = retrain_margins(many)
    matrix = curvature.to_dense().double()
    train_rows = _gradients(curvature, train)
    query_gradients = _gradients(curvature, queries)

    def score(damping):
        effects = reference.removal_effects(query_gradients, train_rows, matrix, damping)
        return float(linear_datamodelling_score(effects, many, truth.double()).mean())

    best = max(score(damping) for damping in choice.dampings[::2])
    assert score(choice.damping) > 0.9 * best
    assert best > 0.3  # the damping matters
    monkeypatch.setattr(
        "fastif.evaluation.retraining_predictor.MAX_GRAM_ROWS", 600
    )  # sampled from 3,600 factor rows
    again = select_damping_by_retraining(curvature, queries, few, outcomes)
    assert 0.5 <= again.damping / choice.damping <= 2  # the grid has a ratio of 1.8
    assert score(again.damping) > 0.9 * best


def _gradients(curvature, examples):
    return (
        curvature.gradients.compute_loss_tile(examples.take(all_ids(examples)))
        .gradients.double()
        .clone()
    )


def _make_choice(*by_query):
    known = [correlation for correlation in by_query if correlation is not None]
    return DampingSelection(1.0, "retraining", (1.0,), (sum(known) / len(known),), 0.0, by_query)


def test_only_a_significantly_worse_model_is_left_out():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(64, generator=generator) * 0.3

    def model(mean, noise):
        return _make_choice(
            *(common + mean + noise * torch.randn(64, generator=generator)).tolist()
        )

    good, alike, bad = model(0.59, 0.05), model(0.57, 0.05), model(0.4, 0.05)
    assert find_clearly_worse([bad, good, alike]) == [0]
    assert find_clearly_worse([good, model(0.48, 2.0)]) == [], "the gap is not significant"
    assert find_clearly_worse([good]) == []
    short = DampingSelection(1.0, "retraining", (1.0,), (0.1,))
    assert find_clearly_worse([good, short]) == [], "no correlations by query"
    assert find_clearly_worse([short, short]) == []


def test_queries_without_a_correlation_are_ignored():
    assert find_clearly_worse(
        [_make_choice(0.9, 0.8, None, 0.9), _make_choice(0.1, 0.1, 0.2, None)]
    ) == [1]
    assert find_clearly_worse([_make_choice(0.9, None), _make_choice(0.1, None)]) == [], (
        "one query is not enough"
    )


def test_the_correlation_of_each_query_is_kept():
    made = case("mlp")
    halves = sample_halves(len(made.train), 5, seed=1)
    outcomes = _outcomes(halves, len(made.train))
    outcomes[:, 3] = 1.0  # this query has equal outcomes
    curvature = GaussNewton(made.objective, made.train)
    choice = select_damping_by_retraining(curvature, made.train, halves, outcomes)
    gradients = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    effects = reference.removal_effects(gradients, gradients, matrix, choice.damping)
    sums = torch.stack([effects[:, half].sum(1) for half in halves], dim=1)
    expected = pearson(sums, outcomes.T)
    for query, known in enumerate(choice.by_query):
        assert (known is None) == (query == 3)
        assert known is None or known == pytest.approx(float(expected[query]), abs=1e-4)
    assert choice.best_agreement == pytest.approx(float(expected.nanmean()), abs=1e-4)
