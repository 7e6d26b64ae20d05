"""Selected estimator: row effects against dense ones, and the rule on outcomes of known origin."""

import math

import pytest
import reference
import torch
from cases import case

from fastif import Dual, GaussNewton, InputError, Spectral
from fastif.curvature import DampedOperator, Ekfac
from fastif.evaluation.estimator import COSINE, Estimator
from fastif.evaluation.retraining_predictor import RetrainingPredictor
from fastif.evaluation.row_effects import RowEffects, compute_row_effects
from fastif.evaluation.select_damping import sample_halves
from fastif.evaluation.select_estimator import (
    list_estimators,
    predict_outcomes,
    select_estimator,
)
from fastif.gradients.per_example import compute_measure_gradients

DAMPING = 0.05


def _row_effects(made, size, approximate=None):
    curvature = GaussNewton(made.objective, made.train.with_batch_size(size))
    queries = compute_measure_gradients(curvature.gradients, made.train)
    halves = sample_halves(len(made.train), 4, seed=1)
    predictor = RetrainingPredictor.from_curvature(curvature, queries, halves, approximate)
    s_test = predictor.solve(DAMPING)
    effects = compute_row_effects(curvature.gradients, curvature.examples, s_test, queries)
    return effects, predictor, halves


@pytest.mark.parametrize("name", ["mlp", "layernorm"])
@pytest.mark.parametrize("size", [3, 100])
def test_row_effects_and_cosines_are_the_dense_ones(name, size):
    made = case(name)
    effects, _, _ = _row_effects(made, size)
    gradients = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    expected = reference.removal_effects(gradients, gradients, matrix, DAMPING)
    torch.testing.assert_close(effects.effects.double(), expected, rtol=1e-4, atol=1e-7)
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    torch.testing.assert_close(effects.cosines.double(), unit @ unit.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [3, 100])
def test_the_kernel_of_a_dual_factor_predicts_the_same(size):
    made = case("mlp")
    curvature = GaussNewton(made.objective, made.train.with_batch_size(size))
    queries = compute_measure_gradients(curvature.gradients, made.train)
    halves = sample_halves(len(made.train), 4, seed=1)
    factor = Dual().factor(DampedOperator(curvature, 1.0))
    own = RetrainingPredictor.from_curvature(curvature, queries, halves)
    shared = RetrainingPredictor.from_curvature(curvature, queries, halves, factor=factor)
    for damping in (1e-3, DAMPING, 10.0):
        torch.testing.assert_close(
            shared.predict(damping), own.predict(damping), rtol=1e-3, atol=1e-5
        )
        torch.testing.assert_close(shared.solve(damping), own.solve(damping), rtol=1e-3, atol=1e-5)
    assert shared.max_eigenvalue == pytest.approx(own.max_eigenvalue, rel=1e-5)
    factor["kernel"] = 2 * factor["kernel"]
    wrong = RetrainingPredictor.from_curvature(curvature, queries, halves, factor=factor)
    assert wrong.max_eigenvalue == pytest.approx(2 * own.max_eigenvalue, rel=1e-5)


def test_a_factor_in_another_order_of_rows_is_refused():
    """With three classes each tile has one factor row of every example of a batch."""
    made = case("mlp")
    other = GaussNewton(made.objective, made.train.with_batch_size(5))
    factor = Dual().factor(DampedOperator(other, 1.0))
    curvature = GaussNewton(made.objective, made.train.with_batch_size(3))
    queries = compute_measure_gradients(curvature.gradients, made.train)
    halves = sample_halves(len(made.train), 4, seed=1)
    with pytest.raises(InputError, match="batch size 3"):
        RetrainingPredictor.from_curvature(curvature, queries, halves, factor=factor)


def test_a_query_without_a_finite_gradient_spoils_no_other_and_selects_as_without_it():
    made = case("mlp")
    curvature = GaussNewton(made.objective, made.train.with_batch_size(4))
    queries = compute_measure_gradients(curvature.gradients, made.train)
    halves = sample_halves(len(made.train), 5, seed=1)
    generator = torch.Generator().manual_seed(6)
    outcomes = torch.randn(5, len(queries), generator=generator, dtype=torch.float64)
    others = [z for z in range(len(queries)) if z != 2]
    selections = []
    for kept, spoilt in ((list(range(len(queries))), True), (others, False)):
        rows = queries.clone()
        rows[2] = torch.nan if spoilt else rows[2]
        effects = compute_row_effects(
            curvature.gradients, curvature.examples, rows[kept], rows[kept]
        )
        estimators = list_estimators([DAMPING])
        predictions = [predict_outcomes(e, [effects], halves) for e in estimators]
        selections.append(select_estimator(estimators, predictions, outcomes[:, kept]))
    spoilt, without = selections
    assert spoilt.estimator == without.estimator
    for left, right in zip(spoilt.trials, without.trials, strict=True):
        assert left.agreement == pytest.approx(right.agreement, abs=1e-6)


def test_ekfac_row_effects_are_those_of_its_dense_matrix():
    made = case("mlp")
    effects, _, _ = _row_effects(made, 4, Spectral())
    gradients = reference.gradients(made.problem)
    curvature = GaussNewton(made.objective, made.train.with_batch_size(4))
    matrix = Ekfac.fit(curvature).to_dense().double()
    expected = reference.removal_effects(gradients, gradients, matrix, DAMPING)
    correlation = torch.corrcoef(
        torch.stack([effects.effects.double().flatten(), expected.flatten()])
    )
    assert correlation[0, 1] > 0.99  # EK-FAC omits directions of small curvature


def test_without_a_power_the_prediction_is_that_of_the_damping_selection():
    made = case("mlp")
    effects, predictor, halves = _row_effects(made, 4)
    predicted = predict_outcomes(Estimator((0,), (DAMPING,)), [effects], halves)
    expected = predictor.predict(DAMPING).double() / len(made.train)
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-7)


def test_a_power_divides_by_the_norm_over_the_queries():
    generator = torch.Generator().manual_seed(3)
    models = [
        RowEffects(torch.randn(5, 12, generator=generator), torch.zeros(5, 12)) for _ in range(2)
    ]
    halves = sample_halves(12, 3, seed=0)
    predicted = predict_outcomes(Estimator((0, 1), (1.0, 1.0), 0.5), models, halves)
    mean = (models[0].effects + models[1].effects) / 2
    median = sorted(float(mean[:, i].norm()) for i in range(12))[5]
    for half, row in zip(halves, predicted, strict=True):
        for query in range(5):
            expected = sum(
                float(mean[query, i]) / math.sqrt(float(mean[:, i].norm()) / median)
                for i in half.tolist()
            )
            assert float(row[query]) == pytest.approx(expected, rel=1e-5)


def _synthetic(noise, seed=0, halves=6, queries=40):
    """Outcomes that the second of three estimators predicts, and predictions of all three."""
    generator = torch.Generator().manual_seed(seed)
    signal, other = (
        torch.randn(halves, queries, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    outcomes = signal + noise * torch.randn(
        halves, queries, generator=generator, dtype=torch.float64
    )
    weak = 0.5 * signal + other
    return [weak, signal, signal + 0.02 * other], outcomes


THREE = [Estimator((0,), (0.1,)), Estimator((1,), (0.1,)), Estimator((0, 1), (0.1, 0.1))]


def test_the_estimator_that_predicts_the_outcomes_is_selected_and_no_more_complex_one():
    predictions, outcomes = _synthetic(noise=0.5)
    choice = select_estimator(THREE, predictions, outcomes)
    assert choice.estimator == THREE[1]
    assert choice.chosen.agreement > choice.simplest.agreement + 0.2
    assert choice.low <= choice.held_out <= choice.high
    assert (choice.halves, choice.queries) == (6, 40)


def test_a_gain_within_chance_keeps_the_simplest():
    predictions, outcomes = _synthetic(noise=0.5)
    alike = [predictions[1], predictions[2], predictions[1] + 1e-3 * predictions[0]]
    assert select_estimator(THREE, alike, outcomes).estimator == THREE[0]


def test_a_gain_that_one_half_makes_shows_in_the_held_out_agreement():
    generator = torch.Generator().manual_seed(1)
    outcomes = torch.randn(6, 500, generator=generator, dtype=torch.float64)
    simple = outcomes + torch.randn(6, 500, generator=generator, dtype=torch.float64)
    lucky = simple.clone()
    lucky[2] = outcomes[2] * 1.5
    choice = select_estimator(THREE[:2], [simple, lucky], outcomes)
    assert choice.estimator == THREE[1]
    gain = choice.chosen.agreement - choice.simplest.agreement
    assert choice.held_out - choice.simplest.agreement < gain / 2


def test_a_gain_below_one_standard_error_over_the_queries_selects_nothing():
    """One query in thirty gains and one loses, so the standard error is larger than the gain."""
    generator = torch.Generator().manual_seed(4)
    outcomes = torch.randn(6, 30, generator=generator, dtype=torch.float64)
    simple = outcomes + 0.3 * torch.randn(6, 30, generator=generator, dtype=torch.float64)
    simple[:, 0] = -outcomes[:, 0]
    better = simple.clone()
    better[:, 0], better[:, 1] = outcomes[:, 0], torch.tensor([1.0, -1.0]).repeat(3)
    choice = select_estimator(THREE[:2], [simple, better], outcomes)
    assert choice.trials[1].agreement > choice.trials[0].agreement + 0.01
    assert choice.estimator == THREE[0]


def test_the_best_of_many_random_estimators_is_not_believed():
    """The maximum over 60 estimators without any signal is high; held-out agreement is not."""
    generator = torch.Generator().manual_seed(2)
    outcomes = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    estimators = [Estimator((place,), (0.1,)) for place in range(60)]
    predictions = [torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in estimators]
    choice = select_estimator(estimators, predictions, outcomes)
    assert max(trial.agreement for trial in choice.trials) > 0.3
    assert choice.held_out < 0.3


def test_the_gradient_cosine_is_selected_where_it_is_clearly_better():
    predictions, outcomes = _synthetic(noise=0.1)
    cosine = Estimator((0,), (0.1,), 1.0, COSINE)
    choice = select_estimator([THREE[0], cosine], predictions[:2], outcomes)
    assert choice.estimator == cosine
    assert choice.trials[1].agreement > choice.trials[0].agreement
    again = select_estimator([THREE[0], cosine], [predictions[0], predictions[0]], outcomes)
    assert again.estimator == THREE[0]


def test_the_interval_is_that_of_the_jackknife_over_halves():
    predictions, outcomes = _synthetic(noise=1.0, halves=5)
    trial = select_estimator(THREE[:1], predictions[:1], outcomes).trials[0]

    def mean(kept):
        pairs = (torch.stack([predictions[0][kept, z], outcomes[kept, z]]) for z in range(40))
        return float(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean())

    left = torch.tensor([mean([h for h in range(5) if h != out]) for out in range(5)])
    error = math.sqrt(0.8 * float((left.double() - left.double().mean()).square().sum()))
    t = 2.7764451  # Student's t, 4 degrees of freedom
    assert trial.agreement == pytest.approx(mean(list(range(5))), abs=1e-9)
    assert trial.high == pytest.approx(min(1.0, trial.agreement + t * error), abs=1e-6)
    assert trial.low == pytest.approx(trial.agreement - t * error, abs=1e-6)


def test_means_are_of_two_models_or_of_all():
    estimators = list_estimators([0.1, 0.2, 0.3, 0.4], 3, powers=[0.0])
    subsets = [e.models for e in estimators if e.kind != COSINE]
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert subsets == [(0,), (1,), (2,), (3,), *pairs, (0, 1, 2, 3)]
    assert estimators[-1] == Estimator((0, 1, 2, 3), (0.1, 0.2, 0.3, 0.4))
    others = list_estimators([0.1, 0.2, 0.3, 0.4, 0.5], 3, base=(0, 1), powers=[0.0])
    assert (2, 3, 4) in {e.models for e in others}


def test_users_models_are_the_simplest_estimator_and_no_mean_has_more_than_two_others():
    estimators = list_estimators([0.1, 0.2, 0.3, 0.4], 2, base=(0, 1))
    assert estimators[0] == Estimator((0, 1), (0.1, 0.2))
    others = {e.models for e in estimators if e.kind != COSINE}
    assert others == {(0, 1), (2,), (3,), (2, 3)}


@pytest.mark.parametrize(
    ("outcomes", "problem"),
    [(torch.zeros(2, 3), "three halves"), (torch.zeros(4, 3), "no correlation")],
)
def test_outcomes_that_select_nothing_are_refused(outcomes, problem):
    predictions = [torch.randn(*outcomes.shape) for _ in THREE]
    with pytest.raises(InputError, match=problem):
        select_estimator(THREE, predictions, outcomes)
