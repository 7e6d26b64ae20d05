"""Effects through the training of a run's model, from the record in the model's folder."""

from collections.abc import Callable

from fastif import InputError
from fastif.candidates import Search
from fastif.unrolled.denser_record import add_states
from fastif.unrolled.training_record import TrainingRecord
from fastif.unrolled.unrolled_attributor import UnrolledAttributor
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
    problem = find_record_problem(folder, context.objective, context.train_texts)
    if problem is not None:
        expected = f"the record of the training of {folder.name}, in {FOLDER}/ of its folder"
        raise InputError(WHERE, expected, problem, REMEDY)


def make_unrolled_attributor(
    context: RunContext, search: Search, progress: Callable[[int, int], None] | None = None
) -> UnrolledAttributor:
    """Return the attributor through the training of the run's first model.

    Args:
        context: Context of the run.
        search: Choice of the training rows in the result.
        progress: Callback with the numbers of reversed steps and of all steps of each sweep.

    Raises:
        InputError: As `check_training_record`.
    """
    record = context.memo.get("training record", lambda: _open_record(context))
    train = get_train_examples(context)
    return UnrolledAttributor(context.objective, train, record, search, progress=progress)


def _open_record(context: RunContext) -> TrainingRecord:
    """Open the record by the rows as texts, and repeat the training on cached hidden states."""
    check_training_record(context)
    folder = find_model_folders(context.study)[0]
    record = open_step_record(folder, context.objective, context.train_texts)
    assert record is not None  # checked above
    return add_states(record, context.objective, get_train_examples(context))
