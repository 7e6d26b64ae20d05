import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from store_samples import STUDY, record

from storage import Store


@pytest.fixture
def store(tmp_path):
    """A store with one opened run, named first."""
    opened = Store.open(tmp_path / "store", STUDY)
    opened.open_run(record())
    return opened
