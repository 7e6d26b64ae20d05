"""Real retrainings without rows, by torch's own optimisers, and what they certify."""

import pytest
import torch

from fastif import Gradients, InputError
from fastif.gradients.per_example import compute_measure_gradients
from fastif.unrolled.retraining_agreement import draw_subsets, measure_agreement, retrain_without
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from tests.fastif.unrolled.small_trainings import CASES, QUERIES, ROWS, losses_at, train


@pytest.mark.parametrize("name", ["clipped momentum", "clipped adamw", "nesterov"])
def test_retraining_without_rows_is_that_of_torch(name):
    training, ids = train(CASES[name]), torch.tensor([2, 11])
    weights = torch.ones(ROWS, dtype=torch.float64)
    weights[ids] = 0
    objective = train(CASES[name], weights=weights).objective
    params = retrain_without(training.record, training.objective, training.examples, ids)
    for key, tensor in objective.params.items():
        torch.testing.assert_close(params[key], tensor, rtol=1e-10, atol=1e-12)


def _agreement(name, effects=None):
    training = train(CASES[name])
    queries = compute_measure_gradients(Gradients(training.objective), training.queries)
    arguments = training.record, training.objective, training.examples
    if effects is None:
        effects = unrolled_removal_effects(*arguments, queries, UnrolledSettings("hessian"))
    subsets = draw_subsets(ROWS, 0.05, 8)
    return training, subsets, measure_agreement(*arguments, training.queries, effects, subsets)


def test_measured_changes_are_those_of_retraining_and_agree_with_the_effects():
    training, subsets, agreement = _agreement("adam")
    queries = torch.arange(ROWS, ROWS + QUERIES)
    rows = []
    for ids in [torch.tensor([], dtype=torch.long), *subsets]:
        weights = torch.ones(ROWS, dtype=torch.float64)
        weights[ids] = 0
        objective = train(CASES["adam"], weights=weights).objective
        rows.append(losses_at(training, objective.space.flatten(objective.params), queries))
    changes = torch.stack([row - rows[0] for row in rows[1:]], 1)
    torch.testing.assert_close(agreement.measured, changes, rtol=1e-7, atol=1e-10)
    assert agreement.correlation > 0.8
    assert agreement.is_smooth


def test_effects_that_do_not_predict_are_called_rough():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(QUERIES, ROWS, generator=generator, dtype=torch.float64)
    _, _, agreement = _agreement("adam", effects)
    assert not agreement.is_smooth
    assert agreement.open_share > 1


def test_a_record_of_other_weights_is_refused():
    training, other = train(CASES["adam"]), train(CASES["adamw"])
    with pytest.raises(InputError, match="final weights"):
        measure_agreement(
            training.record,
            other.objective,
            training.examples,
            training.queries,
            torch.zeros(QUERIES, ROWS),
            draw_subsets(ROWS, 0.1, 1),
        )
