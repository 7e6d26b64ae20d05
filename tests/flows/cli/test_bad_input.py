"""The command line refuses invalid input before anything is written."""

import re

import pytest
import tiny
from command_line import run_refused
from spoilt_inputs import BAD, two_faiss


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("dry", [False, True], ids=["audit", "dry-run"])
def test_bad_input_is_refused_before_anything_is_written(world, name, dry):
    spoil, expected = BAD[name]
    spoil(world)
    message = run_refused(world, "audit", world / "study.toml", *(["--dry-run"] if dry else []))
    for fragment in expected:
        assert fragment in message
    assert re.search(r"expected:? \S", message)
    assert re.search(r"got:? +\S", message)


@pytest.mark.default_cases("audit")
@pytest.mark.parametrize("dry", [False, True], ids=["audit", "dry-run"])
def test_two_faiss_builds_are_refused(world, monkeypatch, dry):
    two_faiss(world)
    monkeypatch.syspath_prepend(world / "site")
    message = run_refused(world, "audit", world / "study.toml", *(["--dry-run"] if dry else []))
    assert "faiss-cpu" in message
    assert "faiss-gpu 1.13.0" in message
    assert "pip uninstall" in message


@pytest.mark.default_cases
@pytest.mark.parametrize("name", ["../escape", "[/]", "a b"])
@pytest.mark.parametrize("dry", [False, True], ids=["audit", "dry-run"])
def test_a_runs_name_must_be_one(world, name, dry):
    options = ["--run", name, *(["--dry-run"] if dry else [])]
    assert repr(name) in run_refused(world, "audit", world / "study.toml", *options)


def test_training_refuses(world):
    path = world / "study.toml"
    assert "[training]" in run_refused(world, "train", path)
    tiny.write_study(world, training={"base": "package:no_such_package/model"})
    assert "pip install" in run_refused(world, "train", path)
    tiny.write_study(world, training={"base": "base"})
    assert "a folder with other files" in run_refused(world, "train", path)
