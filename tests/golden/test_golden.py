"""Digests, stores, commands and keys are what they were; see the docstring of the package."""

import os
import subprocess
import sys

import pytest

from tests.golden.compare import differences, expand_references
from tests.golden.document import read
from tests.golden.golden import DATA, QUICK
from tests.golden.plain import compute_answers
from tests.golden.rounding import round_floats
from tests.golden.surface import commands, study_keys
from tests.golden.volatile import MASK, mask_volatile

MEANT = "if the change is meant: python -m tests.golden write, and say in the commit what changed"
MADE = {"commands": commands, "keys": study_keys, "plain": compute_answers}


@pytest.mark.parametrize("name", QUICK)
def test_it_is_as_it_was(name):
    lines = list(differences(read(DATA / f"{name}.json"), MADE[name](), exact=False))
    assert lines == [], MEANT


@pytest.mark.long
@pytest.mark.timeout(900)
def test_stores_are_as_they_were():
    """In a separate process, where nothing else has been imported or set."""
    command = [sys.executable, "-m", "tests.golden", "check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + MEANT


def test_every_kind_of_difference_is_seen():
    document = {
        "files": {
            "a": {"json": {"x": 1.0, "y": [1.0, 100.0], "z": "text", "n": 3}, "bits": "0f"},
            "b": {"as": "a"},
        }
    }
    same = expand_references(document)
    assert same["files"]["b"] == document["files"]["a"]
    assert list(differences(same, expand_references(document), exact=True)) == []
    changes = [
        ({"json": {"x": 1.1, "y": [1.0, 100.0], "z": "text", "n": 3}, "bits": "0f"}, "x"),
        ({"json": {"x": 1.0, "y": [1.0, 101.0], "z": "text", "n": 3}, "bits": "0f"}, "y[1]"),
        ({"json": {"x": 1.0, "y": [1.0], "z": "text", "n": 3}, "bits": "0f"}, "y"),
        ({"json": {"x": 1.0, "y": [1.0, 100.0], "z": "texts", "n": 3}, "bits": "0f"}, "z"),
        ({"json": {"x": 1.0, "y": [1.0, 100.0], "z": "text", "n": 4}, "bits": "0f"}, "n"),
        ({"json": {"y": [1.0, 100.0], "x": 1.0, "z": "text", "n": 3}, "bits": "0f"}, "order"),
        ({"json": {"x": 1.0, "y": [1.0, 100.0], "z": "text"}, "bits": "0f"}, "n"),
    ]
    for entry, place in changes:
        other = {"files": {**same["files"], "a": entry}}
        (line,) = differences(same, other, exact=False)
        assert place in line
    entry = {"json": {"x": 1.0, "y": [1.02, 100.0], "z": "text", "n": 3}, "bits": "0e"}
    other = {"files": {**same["files"], "a": entry}}
    assert list(differences(same, other, exact=False)) == []
    assert len(list(differences(same, other, exact=True))) == 2
    assert len(list(differences(same, {"files": {"a": same["files"]["a"]}}, exact=False))) == 1
    assert len(list(differences({"files": {}}, same, exact=False))) == 2


def test_what_a_clock_tells_is_masked_and_nothing_else():
    stated = {"seconds": {"index": [0.1, 0.2]}, "created": "now", "share": 0.123456789, "at": None}
    assert mask_volatile(stated) == {
        "seconds": {"index": MASK},
        "created": MASK,
        "share": 0.123456789,
        "at": None,
    }
    assert round_floats([0.123456789, 3, "0.123456789"]) == [0.123457, 3, "0.123456789"]
