"""A store written by version 0.1: readable, and continued by this version."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from store_samples import GROUPS, RUN, SHARDS, STUDY, record, tables

from storage import Store, StoreError, find_most_harmful, find_quarantined, polars_schema
from storage.schemas import TABLES, table_schema
from storage.sealed import unseal

WRITTEN = Path(__file__).with_name("version_1")
NEW = {
    "scores": ["spread", "ranking_score"],
    "solves": [
        "reason",
        "full_residual",
        "score_correlation",
        "resembles_gradient_product",
        "dropped",
        "models",
        "agreement",
        "held",
        "origin",
        "rounding",
        "least_eigenvalue",
        "route",
        "leverage",
    ],
    "runs": ["quarantined_queries", "recall", "forecast", "training"],
    "train": ["trained"],
}


@pytest.fixture
def root(tmp_path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "store"))


def test_it_is_readable_and_missing_columns_are_null(root):
    store = Store.open(root, STUDY, create=False)
    assert store.verify(RUN) == []
    (status,) = store.list_runs()
    assert (status.done, status.finished) == (2, True)
    for table in TABLES:
        groups = GROUPS if table in ("queries", "train") else ()
        actual = store.scan(table, RUN).collect()
        assert actual.schema == polars_schema(table_schema(table, groups))
        assert actual.is_empty() == (table == "totals"), "version 0.1 had no totals"
        for name in NEW.get(table, []):
            assert actual[name].null_count() == actual.height, name
        folder = root / "tables" / table
        if actual.is_empty():
            continue
        first = sorted(folder.rglob("*.parquet"), key=lambda path: path.parent.name)
        raw = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in first])
        assert_frame_equal(actual.select(raw.columns), raw)
    assert json.loads(store.layout.store.read_bytes())["format"] == 1, "reading changes nothing"


def test_queries_work_on_it(root):
    store = Store.open(root, STUDY, create=False)
    top = find_most_harmful(store.scan("scores", RUN), 3, 2).collect()
    assert top["rank"].to_list() == [0, 1]
    lost = find_quarantined(store.scan("solves", RUN), store.scan("queries", RUN)).collect()
    assert lost.is_empty()


def test_writing_upgrades_the_format_and_keeps_old_rows(root):
    old = Store.open(root, STUDY, create=False).scan("solves", RUN).collect()
    stated = json.loads((root / "store.json").read_bytes())
    store = Store.open(root, STUDY)
    assert unseal((root / "store.json").read_bytes()) == {**stated, "format": 3}
    store.open_run(record("second"))
    for shard in SHARDS[:2]:
        store.commit("second", shard.key, tables(shard))
    new = store.scan("solves", "second").collect()
    assert_frame_equal(new, pl.concat(tables(shard)["solves"] for shard in SHARDS[:2]))
    assert_frame_equal(store.scan("solves", RUN).collect(), old)


def test_the_store_of_another_study_is_refused_and_left_unchanged(root):
    before = (root / "store.json").read_bytes()
    with pytest.raises(StoreError, match="'nli'"):
        Store.open(root, "other")
    assert (root / "store.json").read_bytes() == before


def test_a_run_may_be_finished_by_either_version(root):
    """A named run resumes if its parts are equal; files of both versions form one table."""
    store = Store.open(root, STUDY)
    store.open_run(record())
    store.commit(RUN, SHARDS[2].key, tables(SHARDS[2]))
    solves = store.scan("solves", RUN).collect()
    assert solves["models"].to_list() == [None] * 8 + [3] * 4
    assert solves["query"].to_list() == list(range(12))
