"""Run a published experiment and write its tables and plots into a folder."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif import InputError
from tasks.experiments.registry import EXPERIMENTS
from tasks.experiments.result import RESULT, write_result
from tasks.experiments.workspace import Scale, Workspace, find_data_folder
from tasks.runtime.versions import INFLUENCE_VERSION, read_processor_name
from tasks.study.errors import suggest


def check_experiment(name: str, scale: Scale, out: Path, data: Path | None) -> Workspace:
    """Return the workspace of an experiment. Nothing is written.

    Raises:
        InputError: There is no such experiment, or its data is missing.
    """
    if name not in EXPERIMENTS:
        hint = suggest(name, EXPERIMENTS) or "`fastif reproduce` lists them"
        raise InputError("experiment", f"one of {', '.join(EXPERIMENTS)}", name, f"{hint}.")
    workspace = Workspace(out / f"{name}-{scale}", scale, find_data_folder(data))
    for dataset in EXPERIMENTS[name].datasets:
        if workspace.data is None or not (workspace.data / dataset).is_dir():
            remedy = f"Set FASTIF_DATA, or give --data, to a folder that has {dataset}/."
            got = f"{workspace.data}" if workspace.data else "no data folder"
            raise InputError("data", f"the public data set {dataset}", got, remedy)
    return workspace


@task(name="reproduce-experiment", task_run_name="reproduce-{name}", cache_policy=NO_CACHE)
def reproduce_experiment(name: str, scale: Scale, out: str, data: str | None) -> str:
    """Run an experiment, resuming after its cached steps.

    Returns:
        The folder with result.json, result.md and the plots.

    Raises:
        InputError: There is no such experiment, its data is missing, or the folder has cached
            steps of another version of the mathematics.
    """
    workspace = check_experiment(name, scale, Path(out), Path(data) if data else None)
    _check_influence_version(workspace.folder)
    experiment, start = EXPERIMENTS[name], time.monotonic()
    result = experiment.run(workspace)
    head = {
        "name": name,
        "title": experiment.title,
        "source": experiment.source,
        "stands_in": experiment.stands_in,
        "scale": scale,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{read_processor_name()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "seconds": _longest_seconds(workspace.folder, time.monotonic() - start),
    }
    write_result(workspace.folder, head, result)
    return str(workspace.folder)


def _check_influence_version(folder: Path) -> None:
    version_file = folder / "steps" / "mathematics"
    if version_file.is_file() and version_file.read_text() != f"{INFLUENCE_VERSION}":
        raise InputError(
            f"{folder}",
            f"cached steps of version {INFLUENCE_VERSION} of the mathematics",
            version_file.read_text(),
            "Remove the folder, or name another with --out.",
        )
    version_file.parent.mkdir(parents=True, exist_ok=True)
    version_file.write_text(f"{INFLUENCE_VERSION}")


def _longest_seconds(folder: Path, seconds: float) -> float:
    """Return the seconds of the longest run; a run with all steps cached takes none."""
    path = folder / RESULT
    before = json.loads(path.read_text("utf-8"))["seconds"] if path.is_file() else 0.0
    return max(before, seconds)
