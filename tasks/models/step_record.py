"""Record of the steps of a training in its model's folder, for influence through the training.

`fastif train` writes it; the record of a user's own training belongs there too:
`RecordTraining("model/record")`.
"""

from pathlib import Path

import fastif
from fastif import InputError
from fastif.training.fit import FitStep
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup
from fastif.unrolled.record_training import OPTIMIZERS
from fastif.unrolled.recorder import MARGIN, TrainingRecorder
from fastif.unrolled.row_digests import compute_row_digests
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.training_record import TrainingRecord
from storage.atomic import count_free_bytes
from tasks.models.trained_folder import format_size
from tasks.study.training_section import Training

FOLDER = "record"
STORED_SEGMENTS = 3
"""Number of stretches between the states that `fastif train` stores. Its disk use is
1 + 3 · 3 times the trained parameters; a sweep repeats each stretch in memory, see `add_states`."""
MAX_RECORD_BYTES = 10**10
"""Largest record that `fastif train` writes: 250 million trained parameters in single precision."""


class StepRecorder:
    """Recorder of `fastif train`: steps, and the states at 0, 1/3, 2/3 and 1 of the training.

    Args:
        objective: Untrained model.
        examples: Training rows, as the model reads them.
        config: Hyper-parameters of the training.
        folder: Folder of the model that is written.
    """

    def __init__(
        self,
        objective: fastif.Objective,
        examples: fastif.Examples,
        config: fastif.TrainingConfig,
        folder: Path,
    ) -> None:
        self._recorder = TrainingRecorder(
            folder / FOLDER,
            OptimizerSpec(OPTIMIZERS[config.weight_decay_kind]),
            (ParameterGroup(objective.space.names, config.weight_decay),),
            compute_row_digests(examples),
            config.count_steps(len(examples)),
            float(count_record_bytes(objective)),
        )
        self._recorder.start(objective.params)

    def __call__(self, step: FitStep) -> None:
        """Record a step of `fastif.fit`."""
        self._recorder.add_step(step.ids, [step.learning_rate], step.params, step.optimizer)

    def finish(self, objective: fastif.Objective) -> None:
        """Finish the record with the trained model."""
        self._recorder.finish(objective.params)


def plan_record(
    training: Training, objective: fastif.Objective, folder: Path, checkpoints: int
) -> tuple[bool, str]:
    """Decide whether the training is recorded, and return a sentence on the disk that it takes.

    Args:
        training: Section `[training]` of the study.
        objective: Untrained model.
        folder: Folder of the model that is written.
        checkpoints: Number of checkpoints that are saved too.
    """
    if not training.record:
        return False, ""
    needed = count_record_bytes(objective)
    if needed > MAX_RECORD_BYTES:
        limit = format_size(MAX_RECORD_BYTES)
        return False, f"The training was not recorded: {format_size(needed)} is above {limit}."
    weights = sum(tensor.nbytes for tensor in objective.full_model.state_dict().values())
    if needed + (1 + checkpoints) * weights > MARGIN * count_free_bytes(folder):
        return False, f"The training was not recorded: no room for {format_size(needed)}."
    return True, f"Record of the training: {format_size(needed)}."


def count_record_bytes(objective: fastif.Objective) -> int:
    """Return the bytes of the states that `fastif train` stores: ten times the parameters."""
    size = sum(tensor.nbytes for tensor in objective.params.values())
    return size * (1 + STORED_SEGMENTS * 3)


def open_step_record(
    folder: Path, objective: fastif.Objective, examples: fastif.Examples
) -> TrainingRecord | None:
    """Read the record of a model's training with its stored states; None if it has none.

    `add_states` adds states in memory, up to about √T, by repeating the training.

    Args:
        folder: Folder of the model.
        objective: Model with the attributed parameters, which must be those that were trained.
        examples: Training rows.

    Raises:
        InputError: The record is damaged, or of another model, table or training.
    """
    if not (folder / FOLDER).is_dir():
        return None
    return open_record(folder / FOLDER, objective, examples)


def find_record_problem(
    folder: Path, objective: fastif.Objective, examples: fastif.Examples
) -> str | None:
    """Return why a model has no record that can be used; None if it has one.

    Args:
        folder: Folder of the model.
        objective: Model with the attributed parameters.
        examples: Training rows.
    """
    if not (folder / FOLDER).is_dir():
        return "its training was not recorded"
    try:
        open_record(folder / FOLDER, objective, examples)
    except InputError as error:
        return f"{error}"
    return None
