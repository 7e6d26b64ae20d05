"""Flow: one experiment of the sources, done again."""

import json
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.prefect_hooks import notify_failure
from tasks.experiments.result import RESULT, render_result_markdown
from tasks.experiments.run import reproduce_experiment


@flow(
    name="reproduce",
    flow_run_name="reproduce {name} {scale}",
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
def reproduce(
    name: str,
    scale: Literal["small", "full"] = "small",
    out: str = "reproductions",
    data: str | None = None,
) -> str:
    """Do an experiment of the sources again, with their numbers beside.

    Args:
        name: of the experiment.
        scale: its size; small takes minutes on two cores.
        out: folder of all experiments; steps that are there are not done again.
        data: folder of the public data sets; FASTIF_DATA if left out.

    Returns:
        The folder of the result.
    """
    folder = Path(reproduce_experiment(name, scale, out, data))
    result = json.loads((folder / RESULT).read_text("utf-8"))
    create_markdown_artifact(
        render_result_markdown({**result, "plots": []}, ""), key="reproduction", description=name
    )
    return str(folder)
