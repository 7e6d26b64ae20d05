"""Checks of a training record before anything is computed with it."""

import torch
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.unrolled.optimizer_step import check_groups
from fastif.unrolled.training_record import TrainingRecord, TrainingState, digest_weights

REPLAY_TOLERANCE = 1e-3
"""Accepted distance of a repeated segment from its stored end, relative to the segment's way.

Each coordinate counts with the root of its second moment. Coordinates whose gradient is rounding
alone, such as the bias of attention keys, move under Adam by chance: with other threads by 2e-4 of
the way on SST-2, and by 3e-6 with these weights.
"""
ROUNDING_UNITS = 64.0
"""Accepted distance in units of rounding of the parameters, where a segment hardly moves them."""
AGAIN = "Record the training again, or use the model, the rows and the record of one training."


def check_record(record: TrainingRecord, objective: Objective, examples: Examples) -> None:
    """Refuse a record that does not belong to the model and the rows, before the sweep.

    Raises:
        InputError: The parameters, their final values, the number of rows, a batch's positions or
            a stored state contradict the record.
    """
    check_groups(record.groups, objective.space)
    if record.count != len(examples):
        raise InputError(
            "training record", f"a table of {record.count} training rows", f"{len(examples)}", AGAIN
        )
    for step, ids in enumerate(record.batches, start=1):
        if not len(ids) or int(ids.min()) < 0 or int(ids.max()) >= record.count:
            positions = f"{int(ids.min())} to {int(ids.max())}" if len(ids) else "none"
            raise InputError(
                f"training record: batch of step {step}",
                f"positions from 0 to {record.count - 1}",
                positions,
                AGAIN,
            )
    if not bool(torch.isfinite(record.learning_rates).all() & (record.learning_rates >= 0).all()):
        raise InputError("training record: learning_rates", "finite numbers >= 0", "others", AGAIN)
    _check_final_weights(record, objective)
    for step in record.state_steps:
        load_state(record, step, objective)


def _check_final_weights(record: TrainingRecord, objective: Objective) -> None:
    weights = objective.space.flatten(objective.params)
    if digest_weights(weights) != record.weights_digest:
        raise InputError(
            "training record",
            f"the final weights of the model, sha256 {digest_weights(weights)[:12]}",
            f"a training that ended in {record.weights_digest[:12]}",
            AGAIN,
        )
    if not torch.equal(load_state(record, record.num_steps, objective).params, weights):
        raise InputError(
            f"training record: state of step {record.num_steps}",
            "the final weights of the model",
            "other numbers",
            AGAIN,
        )


def load_state(record: TrainingRecord, step: int, objective: Objective) -> TrainingState:
    """Load a stored state in the precision and on the device of the objective's parameters.

    Raises:
        InputError: The state is missing, is of another step, or holds vectors of another number or
            length.
    """
    where, size = f"training record: state of step {step}", objective.space.size
    try:
        state = record.load_state(step)
    except (LookupError, OSError) as error:
        raise InputError(where, "a stored state", type(error).__name__, AGAIN) from error
    vectors, count = (state.params, *state.moments), 1 + record.optimizer.num_moments
    sizes = [tuple(vector.shape) for vector in vectors]
    if state.step != step or sizes != [(size,)] * count:
        raise InputError(
            where,
            f"step {step} with {count} vectors of {size} numbers",
            f"step {state.step} with vectors of shapes {', '.join(map(str, sizes))}",
            AGAIN,
        )
    if not all(bool(torch.isfinite(vector).all()) for vector in vectors):
        raise InputError(where, "finite numbers", "NaN or infinity", AGAIN)
    params, *moments = (vector.to(objective.like) for vector in vectors)
    return TrainingState(step, params, tuple(moments))


def check_replay(start: TrainingState, replayed: TrainingState, stored: TrainingState) -> None:
    """Refuse a segment that, repeated, does not end in its stored state.

    Raises:
        InputError: With the distance, relative to the way of the segment.
    """
    weights = (
        stored.moments[1].sqrt() if len(stored.moments) > 1 else torch.ones_like(stored.params)
    )
    vectors = zip(
        (weights, *map(torch.ones_like, stored.moments)),
        ("parameters", "first moment", "second moment"),
        (start.params, *start.moments),
        (replayed.params, *replayed.moments),
        (stored.params, *stored.moments),
        strict=False,
    )
    for weight, name, before, repeated, after in vectors:
        way = _norm(after - before, weight)
        rounding = ROUNDING_UNITS * torch.finfo(after.dtype).eps * _norm(after, weight)
        distance = _norm(repeated - after, weight)
        if not distance <= REPLAY_TOLERANCE * way + rounding:  # also NaN
            raise InputError(
                f"training record: steps {start.step + 1} to {stored.step}",
                f"the stored {name} of step {stored.step} when they are repeated",
                f"a distance of {distance / way if way else distance:.1e} of their change",
                "The record does not belong to this model or these rows, or the training was not "
                "deterministic (dropout, several devices, reduced precision). " + AGAIN,
            )


def _norm(vector: Tensor, weights: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector.double() * weights))
