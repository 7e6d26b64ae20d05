"""Flow: the search for wrong labels in a study's training table."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.flow_run_names import named_for_the_night
from flows.prefect_hooks import tell_of_failure
from tasks.mislabels.detect import find_mislabels
from tasks.mislabels.results import read_found
from tasks.run.spec import existing_store
from tasks.runtime.foreign_errors import refusing
from tasks.study.study import load_study
from tasks.terminal.mislabels import markdown, suspects


@flow(
    name="mislabel-detection",
    flow_run_name=named_for_the_night,
    persist_result=False,
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_failure],
)
@refusing
def mislabels(study: str) -> str:
    """Rank every training row of a study by the probability that its label is wrong.

    Args:
        study: path of the study file.

    Returns:
        The digest of the part of the store that holds the table.
    """
    digest = find_mislabels(study)
    found = read_found(existing_store(load_study(Path(study))), digest)
    create_markdown_artifact(markdown(found), key="mislabels", description=found.facts["study"])
    create_table_artifact(suspects(found), key="mislabels-worst")
    return digest
