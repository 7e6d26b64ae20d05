"""One experiment of a source, from its data to a table and plots in a folder."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif import InputError
from tasks.experiments.registry import CATALOGUE
from tasks.experiments.result import RESULT, write_outcome
from tasks.experiments.workspace import Place, Scale, data_folder
from tasks.run.spec import MATHEMATICS
from tasks.runtime.versions import processor
from tasks.study.errors import did_you_mean


def checked(name: str, scale: Scale, out: Path, data: Path | None) -> Place:
    """Where an experiment will work. Nothing is written.

    Raises:
        InputError: no such experiment, or its data is not there.
    """
    if name not in CATALOGUE:
        hint = did_you_mean(name, CATALOGUE) or "`fastif reproduce` lists them"
        raise InputError("experiment", f"one of {', '.join(CATALOGUE)}", name, f"{hint}.")
    place = Place(out / f"{name}-{scale}", scale, data_folder(data))
    for needed in CATALOGUE[name].needs:
        if place.data is None or not (place.data / needed).is_dir():
            remedy = f"Set FASTIF_DATA, or give --data, to a folder that has {needed}/."
            got = f"{place.data}" if place.data else "no folder of data"
            raise InputError("data", f"the public data set {needed}", got, remedy)
    return place


@task(name="reproduce-experiment", task_run_name="reproduce-{name}", cache_policy=NO_CACHE)
def reproduce_experiment(name: str, scale: Scale, out: str, data: str | None) -> str:
    """Do an experiment, or what is left of it; the folder with result.json, result.md and plots.

    Raises:
        InputError: as `checked`; or the folder has steps of another version of the mathematics.
    """
    place = checked(name, scale, Path(out), Path(data) if data else None)
    _same_mathematics(place.folder)
    experiment, start = CATALOGUE[name], time.monotonic()
    found = experiment.run(place)
    head = {
        "name": name,
        "title": experiment.title,
        "source": experiment.source,
        "stands_in": experiment.stands_in,
        "scale": scale,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "seconds": _spent(place.folder, time.monotonic() - start),
    }
    write_outcome(place.folder, head, found)
    return str(place.folder)


def _same_mathematics(folder: Path) -> None:
    mark = folder / "steps" / "mathematics"
    if mark.is_file() and mark.read_text() != f"{MATHEMATICS}":
        raise InputError(
            f"{folder}",
            f"steps by version {MATHEMATICS} of the mathematics",
            mark.read_text(),
            "Remove the folder, or name another with --out.",
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{MATHEMATICS}")


def _spent(folder: Path, seconds: float) -> float:
    """Seconds of the longest start: one that finds all steps takes next to none."""
    path = folder / RESULT
    before = json.loads(path.read_text("utf-8"))["seconds"] if path.is_file() else 0.0
    return max(before, seconds)
