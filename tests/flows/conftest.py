"""One tiny study for all flow tests, and one temporary Prefect server."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)

import tiny  # noqa: E402


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The tiny study; copied, never changed."""
    folder = tmp_path_factory.mktemp("tiny") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture
def world(made, tmp_path) -> Path:
    """A copy of the tiny study's folder."""
    return tiny.copy(made, tmp_path / "world")


@pytest.fixture(autouse=True)
def _environment():
    """The command line sets variables for Prefect; another test must not inherit them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory):
    """A temporary Prefect server and home; gives the environment of a process that uses them."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    import flows  # noqa: F401  (settings, before Prefect is imported)

    home = tmp_path_factory.mktemp("prefect")
    with (
        temporary_settings({PREFECT_HOME: home}),
        prefect_test_harness(server_startup_timeout=90),
    ):
        yield {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(home)}


@pytest.fixture(scope="session")
def finished(made, tmp_path_factory) -> Path:
    """The folder of the tiny study after its audit, computed without Prefect; only read it."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("finished") / "made")
    tiny.run_directly(folder / "study.toml")
    return folder
