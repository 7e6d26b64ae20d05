"""Recipe of the training of a run's model, as far as it is known for certain."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastif import InputError
from storage import RunRecord
from tasks.data.dataset import Table
from tasks.models.locate import compute_model_digest, find_base_folder
from tasks.models.training_record import collect_settings, read_record
from tasks.study.errors import join_some
from tasks.study.study import Study


@dataclass(frozen=True)
class RetrainingRecipe:
    """Settings with which the model of a run can be trained again.

    Attributes:
        study: Study with the section `[training]` of the run's model.
        base: Folder of the untrained model.
        seed: Seed of the training.
    """

    study: Study
    base: Path
    seed: int


def find_recipe(
    study: Study, record: RunRecord, read_rows: Callable[[], Table]
) -> RetrainingRecipe | str:
    """Return the recipe of a run's model, or the reason why it is not known, as a clause.

    A store has no training settings. Those of a run are known while its model is in the folder of
    the study with its training record, and the study still has these settings.

    Args:
        study: Present study, with a section `[training]`.
        record: Record of the run.
        read_rows: Function that reads the training rows of the run.
    """
    assert study.training is not None
    if list(study.labels) != record.parts.get("labels"):
        return f"the study has other labels than run {record.run}"
    folder = study.resolve(study.model.path)
    if not folder.is_dir() or compute_model_digest(folder) != record.parts.get("model"):
        return f"the folder {study.model.path} does not hold the model of run {record.run} any more"
    known = read_record(folder)
    if known is None or known.study is None:
        return f"the model of run {record.run} has no training record with its settings"
    if known.study["table"] != record.parts.get("train"):
        return f"the model was trained on other rows than those of run {record.run}"
    try:
        base = find_base_folder(study)
    except InputError as error:
        return f"the base model cannot be read ({error})"
    settings = collect_settings(study, read_rows(), compute_model_digest(base))
    changed = [
        name
        for name, value in settings.items()
        if name not in ("format", "table") and known.study.get(name) != value
    ]
    if changed:
        return f"the study has other settings than the training of that model: {join_some(changed)}"
    return RetrainingRecipe(study, base, study.training.seed)
