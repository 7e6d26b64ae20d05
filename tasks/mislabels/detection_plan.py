"""What a search for wrong labels is asked: rows, what reads them, and verdicts on them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastif.mislabels.detector import MislabelDetector
from storage import Store, StoreError, compute_fingerprint
from tasks.data.inputs import Inputs, read_inputs
from tasks.data.row_hashes import row_digests
from tasks.mislabels.annotations import Annotations, read_annotations
from tasks.mislabels.cross_fitted_classifier import classifier_key
from tasks.mislabels.text_features import TextEncoder, make_encoder
from tasks.models.locate import find_encoder_folder
from tasks.models.training_dynamics import compute_dynamics_digest
from tasks.run.spec import open_existing_store

DETECTOR_VERSION = 9
"""Raised when the procedure comes to say something else."""
DETECTOR = MislabelDetector()


@dataclass(frozen=True)
class DetectionPlan:
    """What is looked for: a study's rows, what reads them, and what people have said of them.

    Attributes:
        inputs: study and tables.
        encoder: of the texts; None where rows are no texts.
        encoder_saw_labels: whether its weights may have seen the labels.
        annotations: of the store.
    """

    inputs: Inputs
    encoder: TextEncoder | None
    encoder_saw_labels: bool
    annotations: Annotations

    @property
    def trusted(self) -> bool:
        """Whether the queries' labels are certain."""
        return self.inputs.study.queries.trusted

    @property
    def procedure(self) -> int:
        """The version of the procedure that searches."""
        return DETECTOR_VERSION

    @cached_property
    def digest(self) -> str:
        """Of everything that the answer depends on; not of the order of the rows."""
        study = self.inputs.study
        queries = sorted(row.hex() for row in row_digests(self.inputs.queries, study.labels))
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
            }
        )


def read_detection_plan(path: Path) -> DetectionPlan:
    """What a study asks to be searched. Reads every input, computes and writes nothing.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the encoder.
    """
    inputs = read_inputs(path)
    encoder, encoder_saw_labels = None, False
    if inputs.train.measurements is None:
        folder, encoder_saw_labels = find_encoder_folder(inputs.study)
        encoder = make_encoder(folder, inputs.study)
    annotations = read_annotations(find_store(inputs), inputs.train, inputs.study.labels)
    return DetectionPlan(inputs, encoder, encoder_saw_labels, annotations)


def find_store(inputs: Inputs) -> Store | None:
    """The study's store, if it was begun."""
    try:
        return open_existing_store(inputs.study)
    except StoreError:
        return None
