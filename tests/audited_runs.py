"""Audits of the tiny study after it is written again, as a report reads them."""

import tiny

from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def audited(folder, **changes):
    """A run of a study that is written again."""
    tiny.write_study(folder, **{"candidates": tiny.WITH_RECALL, **changes})
    tiny.run_directly(folder / "study.toml")
    store = open_existing_store(load_study(folder / "study.toml"))
    return read_run_data(store, store.find_latest().record.run, folder / "study.toml")
