"""Report data of the audited study."""

import pytest

from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


@pytest.fixture(scope="module")
def data(finished):
    study = finished / "study.toml"
    store = open_existing_store(load_study(study))
    return read_run_data(store, store.find_latest().record.run, study)
