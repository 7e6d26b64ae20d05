"""SOURCE against dense matrix exponentials, and against the derivative of the whole training."""

from dataclasses import replace
from itertools import pairwise

import pytest
import reference
import torch
from torch.func import functional_call

from fastif import Gradients, InputError
from fastif.gradients.per_example import compute_measure_gradients
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from fastif.unrolled.segmented import segmented_removal_effects
from tests.fastif.unrolled.small_trainings import CASES, ROWS, make_module, train

UNCLIPPED = [name for name, case in CASES.items() if case.spec.max_grad_norm is None]


def _measure(training, **options):
    queries = compute_measure_gradients(Gradients(training.objective), training.queries)
    effects = segmented_removal_effects(
        training.record, training.objective, training.examples, queries, **options
    )
    return effects, queries


def _read_dense(training, step):
    """Gauss-Newton matrix and gradients of all rows at a stored state, by naive autograd."""
    module, record = make_module(), training.record
    space = training.objective.space
    state = record.load_state(step)
    module.load_state_dict(space.unflatten(state.params))
    points, labels = training.points[:ROWS], training.labels[:ROWS]
    problem = reference.Problem(
        module, list(space.names), list(points.split(1)), list(labels.split(1)),
        reference.cross_entropy,
    )  # fmt: skip
    return reference.gauss_newton(problem), reference.gradients(problem), state


def _compute_truth(training, queries, segments):
    """The recursion with matrix exponentials of D G; their integral is a block of a larger one."""
    record, case, space = training.record, training.case, training.objective.space
    spec, steps = case.spec, len(training.record.batches)
    bounds = [steps * part // segments for part in range(segments + 1)]
    decayed = torch.cat(
        [
            torch.full((space.unflatten(torch.zeros(space.size))[name].numel(),), place)
            for name in space.names
            for place in [0 if name.endswith("weight") else 1]
        ]
    )
    adjoints, effects = queries.clone(), torch.zeros(len(queries), ROWS, dtype=torch.float64)
    for start, stop in reversed(list(pairwise(bounds))):
        stored = [s for s in record.state_steps if s or spec.kind == "sgd"]
        step = min(stored, key=lambda s: (abs(s - (start + stop) / 2), s))
        matrix, gradients, state = _read_dense(training, step)
        learning = record.learning_rates[start:stop].sum(0)[decayed]
        if spec.kind == "sgd":
            rates = learning * (
                (1 - spec.dampening) / (1 - spec.momentum) if spec.momentum else 1.0
            )
        else:
            corrected = state.moments[1] / (1 - spec.betas[1] ** step)
            rates = learning / (corrected.sqrt() + spec.eps)
        decay = torch.tensor(case.decays, dtype=torch.float64)[decayed]
        decay = decay * (learning if spec.kind == "adamw" else rates)
        size = len(rates)
        generator = torch.zeros(2 * size, 2 * size, dtype=torch.float64)
        generator[:size, :size] = -rates[:, None] * matrix
        generator[:size, size:] = torch.eye(size, dtype=torch.float64)
        blocks = torch.linalg.matrix_exp(generator)
        shrink = torch.where(decay > 0, (1 - torch.exp(-decay)) / decay.clamp_min(1e-300), 1.0)
        response = blocks[:size, size:] @ torch.diag(rates)
        effects += (adjoints @ response * shrink) @ gradients.T / ROWS
        adjoints = adjoints @ blocks[:size, :size] * torch.exp(-decay)
    return effects


@pytest.mark.default_cases("sgd-1", "momentum-1", "nesterov-1", "adamw-3")
@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("name", UNCLIPPED)
def test_effects_are_those_of_dense_matrix_exponentials(name, segments):
    training = train(CASES[name])
    effects, queries = _measure(training, segments=segments)
    truth = _compute_truth(training, queries, segments)
    assert (effects - truth).norm() <= 1e-7 * truth.norm()


@pytest.mark.long
def test_many_segments_of_small_steps_are_the_derivative_of_the_training():
    """Gradient descent on all rows: the limit of small steps, and a segment for each state."""
    case, batches = replace(CASES["sgd"], rate=0.02), [torch.arange(ROWS)] * 60
    training = train(case, segment=1, batches=batches, schedule=lambda *_: 1.0)
    queries = compute_measure_gradients(Gradients(training.objective), training.queries)
    truth = unrolled_removal_effects(
        training.record,
        training.objective,
        training.examples,
        queries,
        UnrolledSettings("gauss_newton"),
    )
    errors = []
    for segments in (1, 4, 20):
        effects, _ = _measure(training, segments=segments)
        errors.append(float((effects - truth).norm() / truth.norm()))
    assert max(errors[1:]) < 0.005 < errors[0], errors


def test_a_sample_of_factor_rows_is_near_all_of_them():
    training = train(CASES["sgd"])
    whole, _ = _measure(training)
    part, _ = _measure(training, max_factor_rows=22)
    assert not torch.equal(whole, part)
    assert torch.corrcoef(torch.stack([whole.flatten(), part.flatten()]))[0, 1] > 0.95


def test_batches_of_examples_do_not_matter():
    training = train(CASES["adamw"])
    whole, queries = _measure(training)
    for size in (1, 5, 100):
        again = segmented_removal_effects(
            training.record, training.objective,
            training.examples.with_batch_size(size), queries,
        )  # fmt: skip
        torch.testing.assert_close(again, whole, rtol=1e-9, atol=1e-13)


@pytest.mark.long
def test_factor_rows_that_are_streamed_give_the_same(monkeypatch):
    training = train(CASES["adamw"])
    whole, _ = _measure(training)
    monkeypatch.setattr("fastif.unrolled.segmented.MAX_HELD_BYTES", 1)
    again, _ = _measure(training)
    torch.testing.assert_close(again, whole, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("segments", [0, 10])
def test_a_number_of_segments_out_of_range_is_refused(segments):
    with pytest.raises(InputError, match="a number from 1 to 9, the number of steps"):
        _measure(train(CASES["sgd"]), segments=segments)


def test_clipped_gradients_are_refused():
    with pytest.raises(InputError, match="without gradient clipping"):
        _measure(train(CASES["clipped adamw"]))


def test_the_objective_is_not_changed():
    training = train(CASES["adamw"])
    before = {name: value.clone() for name, value in training.objective.params.items()}
    _measure(training)
    after = training.objective.params
    assert all(torch.equal(after[name], before[name]) for name in before)
    logits = functional_call(training.module, after, training.points)
    assert bool(torch.isfinite(logits).all())
