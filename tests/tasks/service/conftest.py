"""The tiny study after an audit whose scores are inner products of sketches, opened once."""

import pytest
import tiny

from tasks.service.open_engine import open_engine

SKETCH = {"kind": "sketch", "k": 12, "dimensions": 60, "width": 4096, "energy": 1, "check": 0}


@pytest.fixture(scope="session")
def sketched(made, tmp_path_factory):
    """The folder of the tiny study after an audit by sketches without rescoring; only read it."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("sketched") / "made")
    tiny.run_directly(tiny.write_study(folder, candidates=SKETCH | {"rescore": False}))
    return folder


@pytest.fixture(scope="session")
def engine(sketched):
    return open_engine(sketched / "study.toml")
