"""Flow that reproduces one published experiment."""

import json
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.interrupted_run import crash_when_stopped
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
@crash_when_stopped
def reproduce(
    name: str,
    scale: Literal["small", "full"] = "small",
    out: str = "reproductions",
    data: str | None = None,
) -> str:
    """Reproduce a published experiment and compare with the published numbers.

    Args:
        name: Name of the experiment.
        scale: Size of the experiment; small takes minutes on two cores.
        out: Folder of all experiments; existing steps are not repeated.
        data: Folder of the public data sets; FASTIF_DATA if omitted.

    Returns:
        Folder of the result.
    """
    folder = Path(reproduce_experiment(name, scale, out, data))
    result = json.loads((folder / RESULT).read_text("utf-8"))
    create_markdown_artifact(
        render_result_markdown({**result, "plots": []}, ""), key="reproduction", description=name
    )
    return str(folder)
