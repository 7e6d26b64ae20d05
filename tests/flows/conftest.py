"""One temporary Prefect server for all tests of flows."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _environment(clean_environment):
    """No test inherits the variables that another's command line has set."""


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
