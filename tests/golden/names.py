"""The only place that knows names inside the project: what to change when these change."""

import importlib
import tomllib
from collections.abc import Callable
from typing import Any

import typer

from tests.fuzz.command import ROOT

STUDY_MODEL = (("tasks.study.study", "Study"), ("tasks.study.study.study", "Study"))
"""Where the model of a study file is, the first that is there."""


def entry_point() -> Callable[[], None]:
    """What `fastif` runs, as pyproject.toml says."""
    module, name = _entry()
    return getattr(module, name)


def command_line() -> typer.Typer:
    """The Typer application of the entry point's module."""
    module, _ = _entry()
    apps = [value for value in vars(module).values() if isinstance(value, typer.Typer)]
    return max(apps, key=lambda app: len(app.registered_groups) + len(app.registered_commands))


def study_model() -> Any:
    """The pydantic model of a study file."""
    for place, name in STUDY_MODEL:
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise LookupError(f"no model of a study file in {STUDY_MODEL}: correct tests/golden/names.py")


def _entry() -> tuple[Any, str]:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["fastif"]
    module, _, name = script.partition(":")
    return importlib.import_module(module), name
