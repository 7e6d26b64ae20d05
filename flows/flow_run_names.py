"""Names of flow runs: what, of which study, which night."""

from datetime import UTC, datetime
from pathlib import Path

from prefect.runtime import flow_run


def make_flow_run_name() -> str:
    """Such as "influence-audit nli 2026-11-25"; the date is that of UTC."""
    study = Path(str(flow_run.parameters.get("study", "study")))
    name = study.parent.name if study.stem == "study" else study.stem
    return f"{flow_run.flow_name} {name} {datetime.now(UTC).date().isoformat()}"
