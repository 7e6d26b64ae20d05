"""One temporary Prefect server for all tests of flows."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _environment(clean_environment):
    """Restore environment variables that another test's command line has set."""


@pytest.fixture(scope="session")
def prefect(tmp_path_factory):
    """Start a temporary Prefect server; return the environment of processes that use it."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    import flows  # noqa: F401  (settings, before Prefect is imported)

    home = tmp_path_factory.mktemp("prefect")
    with (
        temporary_settings({PREFECT_HOME: home}),
        prefect_test_harness(server_startup_timeout=300),
    ):
        yield {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(home)}
