"""Differences between the settings of a study and those its model was trained with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastif import TextExamples
from tasks.data.dataset import Table
from tasks.models.locate import compute_model_digest, find_base_folder
from tasks.models.training_record import (
    collect_training_options,
)
from tasks.study.errors import format_value
from tasks.study.study import Study

LENGTH = (
    "a text beyond the shorter of the two is another text to the model, so its loss, gradient and "
    "effect are not those of the row that was trained on; set max_length as it was"
)
LOSS = (
    "gradients of training rows and the curvature are of another loss than was minimised, so "
    "effects do not predict a retraining of this model; set [loss] as it was"
)
PENALTY = "the curvature has another penalty on its diagonal than the loss that was minimised had"
RECIPE = (
    'whatever trains again (damping = "auto", validation, folds) makes another model than this; '
    "effects are of the model that is there"
)
RENAMED = "each name stands for the output of the label that was in its place"


@dataclass(frozen=True)
class TrainingDifference:
    """One thing in which a study and the training of its model differ.

    Attributes:
        what: with both values.
        means: for the numbers of an audit.
    """

    what: str
    means: str

    def __str__(self) -> str:
        return f"{self.what}: {self.means}."


def compare_max_length(
    before: int, now: int, tables: Sequence[TextExamples]
) -> Iterator[TrainingDifference]:
    """Told only where a text is another for it."""
    truncated_counts = [int((texts.truncated | (texts.lengths > before)).sum()) for texts in tables]
    if now != before and any(truncated_counts):
        what = f"[model] max_length is {now}, and was {before} in training"
        yield TrainingDifference(
            f"{what} ({truncated_counts[0]} training rows and {truncated_counts[1]} queries are "
            "longer)",
            LENGTH,
        )


def compare_loss(
    known: Mapping[str, Any], study: Study, table: Table
) -> Iterator[TrainingDifference]:
    """Loss and weight decay."""
    for name, value in study.loss.example_settings.items():
        yield from _compare_values(f"[loss] {name}", known["loss"].get(name), value, LOSS)
    if study.loss.class_weights == "balanced" == known["loss"].get("class_weights"):
        weights = study.loss.build(table.labels, len(study.labels)).class_weights
        numbers = None if weights is None else [float(weight) for weight in weights]
        name = 'the numbers of class_weights = "balanced", which follow the rows,'
        yield from _compare_values(name, known["class_weights"], numbers, LOSS)
    before = [known["weight_decay"], known["weight_decay_kind"]]
    now = [study.weight_decay, study.loss.weight_decay_kind]
    coupled = "coupled" in (before[1], now[1])
    # A study of a finished model that says nothing of a decay beside the loss loses nothing.
    if coupled or study.loss.weight_decay is not None or study.training is not None:
        yield from _compare_values(
            "weight_decay with its kind", before, now, PENALTY if coupled else RECIPE
        )


def compare_training(known: Mapping[str, Any], study: Study) -> Iterator[TrainingDifference]:
    """Names of labels, options of [training], and its base."""
    if list(study.labels) != known["labels"]:
        yield from _compare_values("labels", known["labels"], list(study.labels), RENAMED)
    if study.training is None:
        return
    for name, value in collect_training_options(study).items():
        yield from _compare_values(f"[training] {name}", known["training"].get(name), value, RECIPE)
    if _is_base_local(study):
        base = compute_model_digest(find_base_folder(study))
        yield from _compare_values("the digest of [training] base", known["base"], base, RECIPE)


def _compare_values(
    name: str, before: object, now: object, meaning: str
) -> Iterator[TrainingDifference]:
    if before != now:
        yield TrainingDifference(
            f"{name} is {format_value(now)}, and was {format_value(before)} in training", meaning
        )


def _is_base_local(study: Study) -> bool:
    """Whether the base is on this machine: nothing is fetched to be compared."""
    base = study.training.base if study.training else ""
    return base.startswith("package:") or study.resolve(base).is_dir()
