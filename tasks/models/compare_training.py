"""Differences between the settings of a study and those its model was trained with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastif import Examples
from tasks.data.dataset import Table
from tasks.models.locate import compute_model_digest, find_base_folder
from tasks.models.target_outputs import compute_class_weights
from tasks.models.training_record import (
    collect_training_options,
)
from tasks.study.errors import format_value
from tasks.study.study import Study

LENGTH = (
    "longer texts are truncated differently than in training, so their losses, gradients and "
    "effects are not those of the rows the model was trained on; use the max_length of the training"
)
LOSS = (
    "gradients and curvature are computed with another loss than the model was trained with, so "
    "effects do not predict a retraining of this model; use the [loss] of the training"
)
PENALTY = "the curvature includes another L2 penalty than the loss the model was trained with"
RECIPE = (
    'retraining (damping = "auto", validation, folds) gives another model than this one; effects '
    "are those of the existing model"
)
RENAMED = "each new name stands for the output of the old name at the same position"


@dataclass(frozen=True)
class TrainingDifference:
    """Difference between a study and the training of its model.

    Attributes:
        what: Setting or rows that differ, with both values.
        means: Consequence for the results of an audit.
    """

    what: str
    means: str

    def __str__(self) -> str:
        return f"{self.what}: {self.means}."


def compare_max_length(
    before: int, now: int, tables: Sequence[Examples]
) -> Iterator[TrainingDifference]:
    """Compare the maximum length, if it changes the truncation of any text."""
    truncated_counts = [int((texts.truncated | (texts.lengths > before)).sum()) for texts in tables]
    if now != before and any(truncated_counts):
        what = f"[model] max_length is {now} but was {before} in training"
        yield TrainingDifference(
            f"{what} ({truncated_counts[0]} training rows and {truncated_counts[1]} queries are "
            "longer)",
            LENGTH,
        )


def compare_loss(
    known: Mapping[str, Any], study: Study, table: Table
) -> Iterator[TrainingDifference]:
    """Compare the settings of the loss and of the weight decay."""
    subwords = known.get("subwords", "first")
    yield from _compare_values("[model] subwords", subwords, study.model.subwords, LOSS)
    for name, value in study.loss.example_settings.items():
        yield from _compare_values(f"[loss] {name}", known["loss"].get(name), value, LOSS)
    if study.loss.class_weights == "balanced" == known["loss"].get("class_weights"):
        weights = compute_class_weights(study, table)
        numbers = None if weights is None else [float(weight) for weight in weights]
        name = '[loss] class_weights = "balanced", computed from the rows,'
        yield from _compare_values(name, known["class_weights"], numbers, LOSS)
    before = [known["weight_decay"], known["weight_decay_kind"]]
    now = [study.weight_decay, study.loss.weight_decay_kind]
    coupled = "coupled" in (before[1], now[1])
    # Without [training], a study of a finished model does not have to repeat a decoupled decay.
    if coupled or study.loss.weight_decay is not None or study.training is not None:
        yield from _compare_values(
            "[value, kind] of weight_decay", before, now, PENALTY if coupled else RECIPE
        )


def compare_training(known: Mapping[str, Any], study: Study) -> Iterator[TrainingDifference]:
    """Compare the names of labels, the options of `[training]` and its base model."""
    if list(study.labels) != known["labels"]:
        yield from _compare_values("labels", known["labels"], list(study.labels), RENAMED)
    if study.training is None:
        return
    for name, value in collect_training_options(study).items():
        yield from _compare_values(f"[training] {name}", known["training"].get(name), value, RECIPE)
    if _is_base_local(study):
        base = compute_model_digest(find_base_folder(study))
        yield from _compare_values("digest of [training] base", known["base"], base, RECIPE)


def _compare_values(
    name: str, before: object, now: object, meaning: str
) -> Iterator[TrainingDifference]:
    if before != now:
        yield TrainingDifference(
            f"{name} is {format_value(now)} but was {format_value(before)} in training", meaning
        )


def _is_base_local(study: Study) -> bool:
    """Return whether the base model is on this machine; nothing is downloaded for a comparison."""
    base = study.training.base if study.training else ""
    return base.startswith("package:") or study.resolve(base).is_dir()
