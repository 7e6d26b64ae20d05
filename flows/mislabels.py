"""Flow `mislabel-detection`: rank the training rows of a study by error probability."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.flow_run_names import make_flow_run_name
from flows.prefect_hooks import notify_failure
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.label_statement import read_label_statement
from tasks.mislabels.results import read_result
from tasks.run.spec import open_existing_store
from tasks.runtime.foreign_errors import wrap_library_errors
from tasks.study.study import load_study
from tasks.terminal.mislabels import make_flagged_table, render_mislabels_markdown


@flow(
    name="mislabel-detection",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@wrap_library_errors
def mislabels(study: str) -> str:
    """Rank the training rows of a study by the probability that their label is wrong.

    Args:
        study: Path of the study file.

    Returns:
        Digest of the stored table, an artifact of the study's store.
    """
    digest = detect_mislabels(study)
    store = open_existing_store(load_study(Path(study)))
    result = read_result(store, digest)
    labels = read_label_statement(store, result.facts)
    create_markdown_artifact(
        render_mislabels_markdown(result, labels),
        key="mislabels",
        description=result.facts["study"],
    )
    create_table_artifact(make_flagged_table(result), key="mislabels-worst")
    return digest
