"""Names of flow runs: flow, study and date."""

from datetime import UTC, datetime
from pathlib import Path

from prefect.runtime import flow_run


def make_flow_run_name() -> str:
    """Make a name such as "influence-audit nli 2026-11-25", with the date in UTC."""
    study = Path(str(flow_run.parameters.get("study", "study")))
    name = study.parent.name if study.stem == "study" else study.stem
    return f"{flow_run.flow_name} {name} {datetime.now(UTC).date().isoformat()}"
