"""Tables of known roles and a classifier of their texts, made once."""

import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def rows() -> pl.DataFrame:
    """Training rows of known roles."""
    from made_tables import make_rows

    return make_rows(240)


@pytest.fixture(scope="session")
def query_rows() -> pl.DataFrame:
    """Queries of known roles."""
    from made_tables import make_rows

    return make_rows(60, seed=1)


@pytest.fixture(scope="session")
def classifier(rows, tmp_path_factory) -> Path:
    """Classifier whose outputs are blue, red, green, without names of its own; only read it."""
    from made_tables import train_classifier

    folder = tmp_path_factory.mktemp("trained") / "colours"
    return train_classifier(folder, rows, ["blue", "red", "green"])
