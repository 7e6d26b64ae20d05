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
"""A file that what the suite counted is written to."""


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
    """A study in shards of one query each, so that there is much to interrupt."""
    return tiny.write_study(tiny.copy(made, tmp_path / "world"), run=audits.ONE_BY_ONE)


@pytest.fixture(scope="session")
def expected(made, tmp_path_factory):
    """The store of the same that nothing disturbed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("calm") / "world")
    store, _ = tiny.run_directly(tiny.write_study(folder, run=audits.ONE_BY_ONE))
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A Prefect server of the session's own, in a process of its own."""
    running = audits.Server(tmp_path_factory.mktemp("prefect"), audits.free_port())
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def figures():
    """What tests count; written at the end, beside what is there, if a file is named."""
    measurements: dict[str, object] = {}
    yield measurements
    name = os.environ.get(FIGURES)
    if name and measurements:
        with Path(name).open("a+") as file:  # two workers of the suite may end at once
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = json.loads(file.read() or "{}")
            file.truncate(0)
            file.write(json.dumps({**known, **measurements}, indent=1) + "\n")
