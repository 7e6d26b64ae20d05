"""What is pinned: every document, made again."""

import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.golden import surface
from tests.golden.command import Commands, commands
from tests.golden.plain import compute_answers
from tests.golden.refusals import exit_codes
from tests.golden.snapshot import snapshot
from tests.golden.study import STUDIES, Step, write_models, write_study, write_tables

DATA = Path(__file__).with_name("data")
QUICK = ("commands", "keys", "plain")
"""Documents that need no store."""
LIBRARIES = ("torch", "transformers", "numpy", "pyarrow", "polars", "faiss-cpu", "tokenizers")


def documents(quick: bool = False) -> Iterator[tuple[str, Any]]:
    """Every document by its name; only those that need no store if `quick`."""
    yield "commands", surface.commands()
    yield "keys", surface.study_keys()
    yield "plain", compute_answers()
    if not quick:
        with commands() as fastif, tempfile.TemporaryDirectory(prefix="golden-") as folder:
            yield from _of_stores(fastif, Path(folder))


def _of_stores(fastif: Commands, folder: Path) -> Iterator[tuple[str, Any]]:
    schemas: dict[str, Any] = {}
    for name, study in STUDIES.items():
        for variant, steps in (("fixed", study.fixed), ("auto", study.auto)):
            place = folder / f"{name}-{variant}"
            codes = [run_step(fastif, place, step, study.common) for step in steps]
            document = snapshot(place / "store", chosen=variant == "auto")
            schemas |= document.pop("schemas")
            yield place.name, {"codes": codes, **document}
    yield "schemas", dict(sorted(schemas.items()))
    yield "exit codes", exit_codes(fastif, folder / "classifier-fixed")


def run_step(fastif: Commands, folder: Path, step: Step, common: Any) -> int:
    """Run a step in a folder, which is made at the first; its exit code.

    Raises:
        RuntimeError: the command ended in a traceback, or failed.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
        write_models(folder)
    write_tables(folder, step.night)
    study = write_study(folder, common, step.sections)
    arguments = [study.name if word == "STUDY" else word for word in step.command]
    ended = fastif.run(arguments, folder)
    if ended.code or ended.traceback:
        raise RuntimeError(f"fastif {' '.join(arguments)} in {folder.name}: {ended.words}")
    return ended.code


def environment() -> dict[str, str]:
    """The machine and the packages that golden files were written with."""
    versions = {"processor": _processor(), "python": platform.python_version()}
    return versions | {name: version(name) for name in LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "")
