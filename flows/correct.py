"""Flow: a study's model repaired on anchors."""

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
    """Take gradient steps on the rows that would help the anchors most, and check the outcome.

    Args:
        study: path of the study file.
        anchors: a table with the columns of [queries]: examples of what goes wrong.
        out: a new folder for the model.
        source: a table with the columns of [train] to learn from; the training rows if left out.
        how: steps, numbers and seed.
        keep: write the model even if it is no improvement.

    Returns:
        What came of it.
    """
    where = Path(source) if source else None
    repair = correct_model(
        CorrectionRequest(Path(study), Path(anchors), Path(out), where, how, keep)
    )
    create_markdown_artifact(f"{repair.why}\n", key="correction", description=repair.out or "")
    create_table_artifact(make_slices_frame(repair).to_dicts(), key="correction-slices")
    return repair
