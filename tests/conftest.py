"""What must be set before torch, transformers or prefect is imported; one tiny study for all."""

import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # on few cores, threads of torch and FAISS only fight
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The tiny study; copied, never changed."""
    import tiny

    folder = tmp_path_factory.mktemp("tiny") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture
def world(made, tmp_path) -> Path:
    """A copy of the tiny study's folder."""
    import tiny

    return tiny.copy(made, tmp_path / "world")


@pytest.fixture(scope="session")
def finished(made, tmp_path_factory) -> Path:
    """The folder of the tiny study after its audit, computed without Prefect; only read it."""
    import tiny

    folder = tiny.copy(made, tmp_path_factory.mktemp("finished") / "made")
    tiny.run_directly(folder / "study.toml")
    return folder


@pytest.fixture
def clean_environment():
    """The command line sets variables for Prefect; another test must not inherit them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
