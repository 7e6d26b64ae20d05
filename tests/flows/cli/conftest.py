"""Room for messages; the spoilt inputs of these tests are a module of this folder."""

import sys
from pathlib import Path

import pytest

from flows.cli.common import err, out

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Room for every message on one line."""
    for console in (out, err):
        monkeypatch.setattr(console, "_width", 220)
