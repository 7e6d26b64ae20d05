"""Flow `correct-model`: error correction of a study's model on a failure set."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from fastif.correction import Correction
from flows.flow_run_names import make_flow_run_name
from flows.prefect_hooks import notify_failure
from tasks.correction.correct_model import (
    CorrectionRequest,
    CorrectionResult,
    correct_model,
    make_slices_frame,
)
from tasks.runtime.foreign_errors import wrap_library_errors


@flow(
    name="correct-model",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@wrap_library_errors
def correct(
    study: str,
    anchors: str,
    out: str,
    source: str | None = None,
    how: Correction = Correction(),  # noqa: B008
    keep: bool = False,
) -> CorrectionResult:
    """Correct a study's model by steps on helpful rows, and evaluate it (Guo et al., 2021).

    Args:
        study: Path of the study file.
        anchors: Path of the table of failures, with the columns of [queries].
        out: Path of a new folder for the corrected model.
        source: Path of a table of rows to learn from, with the columns of [train]; the training
            rows by default.
        how: Number of steps and rows, selection, and seed.
        keep: Whether to write the model even without an improvement.

    Returns:
        Changes of accuracy and loss by slice, and whether they are an improvement.
    """
    where = Path(source) if source else None
    result = correct_model(
        CorrectionRequest(Path(study), Path(anchors), Path(out), where, how, keep)
    )
    create_markdown_artifact(f"{result.why}\n", key="correction", description=result.out or "")
    create_table_artifact(make_slices_frame(result).to_dicts(), key="correction-slices")
    return result
