"""The noisy study, whose module is in this folder, before and after its first detection."""

import sys
from pathlib import Path

import pytest
import tiny

sys.path.insert(0, str(Path(__file__).parent))

from noisy_study import run_search, write_noisy


@pytest.fixture
def noisy(world) -> Path:
    """Study with separable texts and twelve flipped labels."""
    return write_noisy(world)


@pytest.fixture(scope="session")
def search_of_noisy(made, tmp_path_factory) -> Path:
    """Folder of the noisy study after its first detection; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("searched") / "world")
    run_search(write_noisy(folder))
    return folder


@pytest.fixture
def searched(search_of_noisy, tmp_path) -> Path:
    """The noisy study with its first detection in the store, which `run_search` reads."""
    return tiny.copy(search_of_noisy, tmp_path / "world") / "study.toml"
