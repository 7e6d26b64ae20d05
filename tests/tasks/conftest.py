"""The tiny study of the flow tests, for tasks that need a model."""

import os
import sys
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "flows"))
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
