"""Tests of tasks use one thread."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _environment(clean_environment):
    """Remove environment variables that the command line of another test has set."""
