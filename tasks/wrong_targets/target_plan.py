"""Input of a search for wrong targets, and its cache key."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from storage import compute_fingerprint
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.detection_plan import DetectionPlan, find_encoder, find_store
from tasks.mislabels.merged_annotations import Annotations
from tasks.study.errors import Problem, StudyError, format_value
from tasks.study.joined_errors import call_all
from tasks.study.study import Study
from tasks.study.supported_targets import check_target
from tasks.wrong_targets.cells import WRONG_TARGET_KINDS, make_cells

PROCEDURE = 2
"""Version of the search; a change of its results raises it."""
CLASSIFIER_KEYS = ("folds", "finetune", "judge", "judges")
"""Keys of [mislabels] that only a search among classes has."""


@dataclass(frozen=True)
class TargetPlan:
    """Input of a search for wrong targets.

    Attributes:
        detection: Study, tables and encoder.
        cells: Cells of the training rows; see `make_cells`.
    """

    detection: DetectionPlan
    cells: pl.DataFrame

    @property
    def inputs(self) -> Inputs:
        """Study and tables."""
        return self.detection.inputs

    @property
    def study(self) -> Study:
        """The study."""
        return self.detection.inputs.study

    @property
    def annotations(self) -> Annotations:
        """Annotations of cells in the store."""
        return self.detection.annotations

    @cached_property
    def digest(self) -> str:
        """Cache key of the search: rows, targets, encoder and annotations."""
        encoder = self.detection.encoder
        return compute_fingerprint(
            {
                "procedure": PROCEDURE,
                "target": self.study.target,
                "encoder": encoder.artifact_kind if encoder else "as they are",
                "train": self.inputs.train.digest,
                "labels": list(self.study.labels),
                "verdicts": self.annotations.digest,
            }
        )


def read_target_plan(path: Path) -> TargetPlan:
    """Read the input of a study's search for wrong targets; nothing is computed or written.

    Args:
        path: Study file.

    Raises:
        StudyError, InputError: The study, a table or the encoder is invalid, or the study has other
            targets.
    """
    study = read_study(path)
    check_target(study, WRONG_TARGET_KINDS, "a search for wrong targets")
    problems = [*_list_unsupported(study)]
    if problems:
        raise StudyError(study.path, problems)
    inputs, encoder_choice = call_all(
        study.path, lambda: read_tables(study), lambda: find_encoder(study)
    )
    encoder, saw_labels = encoder_choice
    annotations = read_annotations(find_store(inputs), target=study.target)
    cells = make_cells(inputs.train, study.labels)
    return TargetPlan(DetectionPlan(inputs, encoder, saw_labels, annotations), cells)


def _list_unsupported(study: Study) -> Iterator[Problem]:
    """Yield a problem for each key that only a search among classes has."""
    expected = f"no such key for {format_value(study.target)} targets"
    for key in CLASSIFIER_KEYS:
        if getattr(study.mislabels, key):
            got = format_value(getattr(study.mislabels, key))
            yield Problem(f"[mislabels] {key}", expected, got, "remove the key")
    if study.has_queries and study.queries.trusted:
        yield Problem("[queries] trusted", expected, "true", "remove the key")
