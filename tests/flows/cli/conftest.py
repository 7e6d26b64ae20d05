"""A wide terminal for messages, and access to the module of invalid inputs."""

import sys
from pathlib import Path

import pytest

from flows.cli.common import err, out

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Make the terminal wide enough for every message on one line."""
    for console in (out, err):
        monkeypatch.setattr(console, "_width", 220)
