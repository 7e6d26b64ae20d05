"""Effects through the training of a run's model, from the record in the model's folder."""

from collections.abc import Callable

from fastif import InputError
from fastif.candidates import Search
from fastif.unrolled.denser_record import add_states, verify_first_segment
from fastif.unrolled.training_record import TrainingRecord
from fastif.unrolled.unrolled_attributor import SWEEP_GB, UnrolledAttributor
from tasks.models.locate import find_model_folders
from tasks.models.step_record import FOLDER, find_record_problem, open_step_record
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_train_examples

WHERE = "[estimator] through_training"
REMEDY = (
    "Train it with `fastif train` and record = true under [training], or remove this key; "
    "docs/guides/recording.md has the record of your own training."
)


def check_training_record(context: RunContext) -> None:
    """Check that the record of the model's training belongs to the model and to these rows.

    Raises:
        InputError: There is no record, it is damaged, or it is of other weights or rows.
    """
    if not context.study.estimator.through_training:
        return
    folder = find_model_folders(context.study)[0]
    problem = find_record_problem(folder, context.objective, context.train_examples)
    if problem is not None:
        expected = f"the record of the training of {folder.name}, in {FOLDER}/ of its folder"
        raise InputError(WHERE, expected, problem, REMEDY)


def make_unrolled_attributor(
    context: RunContext,
    search: Search,
    record: TrainingRecord,
    progress: Callable[[int, int], None] | None = None,
) -> UnrolledAttributor:
    """Return the attributor through the training of the run's first model.

    Args:
        context: Context of the run.
        search: Choice of the training rows in the result.
        record: Record of the training, see `open_training_record`.
        progress: Callback with the numbers of reversed steps and of all steps of each sweep.
    """
    return UnrolledAttributor(
        context.objective,
        get_train_examples(context),
        record,
        search,
        sweep_gb=limit_sweep(context.study.run.memory_gb),
        progress=progress,
    )


def limit_sweep(memory_gb: float | None) -> float:
    """Return the memory for the adjoints of a sweep: a third of the run's limit, if it has one.

    Examples:
        >>> limit_sweep(None), limit_sweep(6.0)
        (4.0, 2.0)
    """
    return SWEEP_GB if memory_gb is None else min(SWEEP_GB, memory_gb / 3)


def open_training_record(context: RunContext) -> TrainingRecord:
    """Open the record of the training with about √T states in memory.

    The training, or a part of it where that is enough, is repeated on cached hidden states and
    compared with the stored states, so that another loss than that of the training is refused.

    Raises:
        InputError: As `check_training_record`, or a repeated stretch does not end in its state.
    """
    check_training_record(context)
    folder = find_model_folders(context.study)[0]
    record = open_step_record(folder, context.objective, context.train_examples)
    assert record is not None  # checked above
    train = get_train_examples(context)
    denser = add_states(record, context.objective, train)
    if denser is record:  # it has enough states, so nothing was repeated
        verify_first_segment(record, context.objective, train)
    return denser
