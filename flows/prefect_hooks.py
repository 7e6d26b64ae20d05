"""Prefect hooks that send an alert when a flow run fails or crashes."""

from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from tasks.results.alerts import send_alert
from tasks.study.study import StudyError, load_study


def notify_failure(flow: Flow, flow_run: FlowRun, state: State) -> None:
    """Send an alert of a failed flow run to the study's webhook, if it has one."""
    parameters: dict[str, Any] = flow_run.parameters
    try:
        study = load_study(Path(str(parameters["study"])))
    except (StudyError, KeyError):
        return  # the study itself is invalid
    text = f"{flow_run.name}: {state.name}. {state.message or ''}".strip()
    send_alert(study.notify, study.name, str(parameters.get("run") or ""), text)
