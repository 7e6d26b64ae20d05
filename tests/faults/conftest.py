"""The tiny study, its undisturbed store, and a Prefect server that can be killed."""

import fcntl
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import audits
import tiny

FIGURES = "FASTIF_FIGURES"
"""Environment variable with the file to which counts are written."""


def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in Path(item.fspath).parts:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture
def study(made, tmp_path) -> Path:
    """A study with one query a shard, so that there are many commits to interrupt."""
    return tiny.write_study(tiny.copy(made, tmp_path / "world"), run=audits.ONE_BY_ONE)


@pytest.fixture(scope="session")
def expected(made, tmp_path_factory):
    """The store of an undisturbed audit of the study."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("calm") / "world")
    store, _ = tiny.run_directly(tiny.write_study(folder, run=audits.ONE_BY_ONE))
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A Prefect server of the test session in a separate process."""
    running = audits.Server(tmp_path_factory.mktemp("prefect"), audits.free_port())
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def figures():
    """Counters of tests, appended to a file at the end if one is set."""
    measurements: dict[str, object] = {}
    yield measurements
    name = os.environ.get(FIGURES)
    if name and measurements:
        with Path(name).open("a+") as file:  # two workers of the suite may finish concurrently
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = json.loads(file.read() or "{}")
            file.truncate(0)
            file.write(json.dumps({**known, **measurements}, indent=1) + "\n")
