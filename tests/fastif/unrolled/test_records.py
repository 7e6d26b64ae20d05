"""Batches of queries, segments, resuming; and records that do not belong to a training."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastif import Gradients, InputError
from fastif.gradients.per_example import compute_measure_gradients
from fastif.unrolled.reverse_sweep import SweepState, UnrolledSettings, unrolled_removal_effects
from fastif.unrolled.training_record import TrainingRecord, TrainingState
from tests.fastif.unrolled.small_trainings import CASES, ROWS, Training, train

CASE = CASES["clipped adamw"]


@pytest.fixture(scope="module")
def training() -> Training:
    return train(CASE)


def _gradients(training: Training) -> Tensor:
    return compute_measure_gradients(Gradients(training.objective), training.queries)


def _sweep(training: Training, rows: Tensor, record: TrainingRecord | None = None, **options):
    record = record or training.record
    return unrolled_removal_effects(record, training.objective, training.examples, rows, **options)


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian"])
def test_any_batching_of_queries_gives_the_same_effects(training, curvature):
    rows, settings = _gradients(training), UnrolledSettings(curvature)
    together = _sweep(training, rows, settings=settings)
    apart = torch.cat([_sweep(training, part, settings=settings) for part in rows.split([1, 3])])
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("segment", [1, 2, 5, 100])
def test_any_length_of_segments_gives_the_same_effects(training, segment):
    rows, expected = _gradients(training), _sweep(training, _gradients(training))
    other = train(CASE, segment)
    assert other.record.state_steps != training.record.state_steps
    torch.testing.assert_close(_sweep(other, rows), expected, rtol=1e-10, atol=1e-14)


def test_a_sweep_that_was_killed_continues_with_the_same_bits(training):
    rows, stored = _gradients(training), []

    def keep_two(state: SweepState) -> None:
        if len(stored) == 2:
            raise KeyboardInterrupt
        adjoints = tuple(adjoint.clone() for adjoint in state.adjoints)
        stored.append(SweepState(state.step, adjoints, state.weight_derivatives.clone()))

    with pytest.raises(KeyboardInterrupt):
        _sweep(training, rows, on_segment=keep_two)
    steps = []
    resumed = _sweep(
        training, rows, resume_from=stored[-1], progress=lambda step, _: steps.append(step)
    )
    assert torch.equal(resumed, _sweep(training, rows))
    assert steps == list(range(training.record.num_steps - stored[-1].step + 1, 10))
    with pytest.raises(InputError, match="resume_from"):
        _sweep(training, rows[:2], resume_from=stored[-1])


def test_the_objective_and_the_gradients_are_not_changed(training):
    rows, params = _gradients(training), training.objective.params
    before = rows.clone(), {name: tensor.clone() for name, tensor in params.items()}
    _sweep(training, rows)
    assert torch.equal(rows, before[0])
    assert training.objective.params is params
    assert all(torch.equal(tensor, before[1][name]) for name, tensor in params.items())


def _change_state(record: TrainingRecord, step: int, **changes: object) -> TrainingRecord:
    def load(number: int) -> TrainingState:
        state = record.load_state(number)
        return replace(state, **changes) if number == step else state

    return replace(record, load_state=load)


def _lose_state(record: TrainingRecord) -> TrainingRecord:
    def load(number: int) -> TrainingState:
        if number == 6:
            raise FileNotFoundError("state-6.safetensors")
        return record.load_state(number)

    return replace(record, load_state=load)


ZEROS = torch.zeros(43, dtype=torch.float64)
WRONG_RECORDS = {
    "final weights": lambda r: replace(r, weights_digest="0" * 64),
    "state of step 9": lambda r: _change_state(r, 9, params=ZEROS),
    "state of step 6": _lose_state,
    "state of step 3: expected step 3 with 3 vectors": lambda r: _change_state(r, 3, moments=()),
    "state of step 0: expected finite": lambda r: _change_state(r, 0, params=ZEROS / 0),
    "batch of step 3": lambda r: replace(
        r, batches=[*r.batches[:2], torch.tensor([0, ROWS]), *r.batches[3:]]
    ),
    "table of 12": lambda r: replace(r, count=12),
    "0.bias attributed but not trained": lambda r: replace(
        r, groups=(r.groups[0], replace(r.groups[1], names=("2.bias",)))
    ),
    "2.bias in two groups": lambda r: replace(
        r, groups=(r.groups[0], replace(r.groups[1], names=("0.bias", "2.bias", "2.bias")))
    ),
    "9.bias trained but not attributed": lambda r: replace(
        r, groups=(r.groups[0], replace(r.groups[1], names=("0.bias", "2.bias", "9.bias")))
    ),
    "learning_rates": lambda r: replace(r, learning_rates=-r.learning_rates),
}


@pytest.mark.parametrize("message", WRONG_RECORDS)
def test_a_record_of_another_training_is_refused_before_any_step(training, message):
    def progress(*_: int) -> None:
        raise AssertionError("computed")

    record = WRONG_RECORDS[message](training.record)
    with pytest.raises(InputError, match=message):
        _sweep(training, _gradients(training), record, progress=progress)


REPLAYED = {
    "order": lambda r: replace(r, batches=[r.batches[1], r.batches[0], *r.batches[2:]]),
    "rate": lambda r: replace(r, learning_rates=r.learning_rates * 1.01),
    "decay": lambda r: replace(r, groups=(replace(r.groups[0], weight_decay=0.4), r.groups[1])),
    "constant": lambda r: replace(r, optimizer=replace(r.optimizer, betas=(0.9, 0.99))),
    "moment": lambda r: _change_state(r, 3, moments=(ZEROS, ZEROS)),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_a_record_that_repeats_to_other_states_is_refused(training, name):
    with pytest.raises(InputError, match="when they are repeated"):
        _sweep(training, _gradients(training), REPLAYED[name](training.record))


def test_rows_that_were_changed_are_refused(training):
    points = training.points.clone()
    points[3] += 0.1
    changed = replace(training, points=points)
    with pytest.raises(InputError, match="does not belong to this model or these rows"):
        _sweep(changed, _gradients(training))


def test_records_that_contradict_themselves_are_refused(training):
    record = training.record
    with pytest.raises(InputError, match="learning_rates"):
        replace(record, learning_rates=record.learning_rates[1:])
    with pytest.raises(InputError, match="state_steps"):
        replace(record, state_steps=(0, 6))
    with pytest.raises(InputError, match="max_grad_norm"):
        replace(record.optimizer, max_grad_norm=0.0)
