"""`fastif.audit` finds its implementation, which fastif itself must not import."""

import tomllib
from pathlib import Path

import pytest

import fastif
from fastif.entry_points import DEFAULT, GROUP, _resolve

ROOT = Path(__file__).parents[2]


def test_the_entry_point_of_the_project_is_the_default():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"][GROUP] == {"audit": DEFAULT}


def test_an_absent_implementation_is_refused_with_a_remedy():
    with pytest.raises(fastif.InputError, match="pip install"):
        _resolve("fastif.absent", "absent.module:audit")
