"""Denser record: a training record with more states than were stored, by repeating its steps."""

from collections.abc import Iterator
from dataclasses import replace

from fastif.data.examples import Examples
from fastif.models.objective import Objective
from fastif.unrolled.check_record import check_replay
from fastif.unrolled.record_training import choose_state_steps
from fastif.unrolled.replay import Replay
from fastif.unrolled.training_record import TrainingRecord, TrainingState


def add_states(
    record: TrainingRecord,
    objective: Objective,
    examples: Examples,
    num_segments: int | None = None,
) -> TrainingRecord:
    """Repeat a recorded training once, and keep states between the stored ones in memory.

    A sweep holds each step between two states, so √T states at equal distances need the least
    memory. A record on disk may have fewer, to save disk.

    Args:
        record: Record of T steps.
        objective: Model of the training; it is not changed.
        examples: Training rows of the record.
        num_segments: Number of stretches between states; √T by default. A record that has as many
            is returned as it is.

    Returns:
        The record with further states; those that were stored are not kept in memory.

    Raises:
        InputError: The repeated training does not arrive at a stored state.
    """
    wanted = set(choose_state_steps(record.num_steps, num_segments))
    if len(record.state_steps) >= len(wanted):
        return record
    replay, kept = Replay(record, objective, examples), {}
    for start, stop in record.segments:
        kept |= {s.step: s for s in _repeat_segment(replay, start, stop) if s.step in wanted}

    def load_state(step: int) -> TrainingState:
        return kept[step] if step in kept else record.load_state(step)

    steps = tuple(sorted({*record.state_steps, *kept}))
    return replace(record, state_steps=steps, load_state=load_state)


def verify_first_segment(record: TrainingRecord, objective: Objective, examples: Examples) -> None:
    """Repeat the steps up to the first stored state, and compare with it.

    Another loss, other rows or a training with randomness show in any segment.

    Raises:
        InputError: The repeated steps do not arrive at the stored state.
    """
    for _ in _repeat_segment(Replay(record, objective, examples), *record.segments[0]):
        pass


def _repeat_segment(replay: Replay, start: int, stop: int) -> Iterator[TrainingState]:
    """Yield the states between two stored ones; the last is compared with the second.

    Raises:
        InputError: It differs.
    """
    state = first = replay.load_state(start)
    for step in replay.iterate(first, stop):
        state = step.after
        if state.step != stop:
            yield state
    check_replay(first, state, replay.load_state(stop))
