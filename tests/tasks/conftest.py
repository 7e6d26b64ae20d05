"""One thread, as for all tests of models."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _environment(clean_environment):
    """No test inherits the variables that another's command line has set."""
