"""The noisy study, whose module is in this folder, before and after its first search."""

import sys
from pathlib import Path

import pytest
import tiny

sys.path.insert(0, str(Path(__file__).parent))

from noisy_study import run_search, write_noisy


@pytest.fixture
def noisy(world) -> Path:
    """A study whose texts tell their label, but for twelve planted errors."""
    return write_noisy(world)


@pytest.fixture(scope="session")
def search_of_noisy(made, tmp_path_factory) -> Path:
    """The folder of the noisy study after its first search; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("searched") / "world")
    run_search(write_noisy(folder))
    return folder


@pytest.fixture
def searched(search_of_noisy, tmp_path) -> Path:
    """The noisy study with its first search in the store: `run_search` reads what is there."""
    return tiny.copy(search_of_noisy, tmp_path / "world") / "study.toml"
