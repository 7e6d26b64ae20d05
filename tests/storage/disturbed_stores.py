"""Processes that disturb a store, and the invariants that must hold afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal
from store_samples import RUN, SHARDS, STUDY, record, tables

from storage import Store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def start_child(job, *arguments):
    path = os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE / "store_child.py"), job, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def reopen(root):
    store = Store.open(root, STUDY)
    store.open_run(record())
    return store


def assert_whole(store, writer=0):
    """Check that every visible shard has all rows of its tables, and that no other row shows."""
    assert store.verify(RUN) == []
    missing = store.find_missing(RUN, SHARDS)
    done = [tables(shard, writer) for shard in SHARDS if shard not in missing]
    for table in ("scores", "solves", "queries"):
        actual = store.scan(table, RUN).collect()
        if done:
            assert_frame_equal(actual, pl.concat(made[table] for made in done))
        else:
            assert actual.is_empty()


def resume_commits(store):
    missing = store.find_missing(RUN, SHARDS)
    for shard in missing:
        store.commit(RUN, shard.key, tables(shard))
    return missing


def read_tables(store):
    return {table: store.scan(table, RUN).collect() for table in ("scores", "solves", "queries")}
