"""Names of runs as they may be typed: in full, shortened, `latest` or `previous`."""

import handmade_runs
import pytest

from fastif import InputError
from storage import StoreError
from tasks.run.run_names import resolve_run_name
from tasks.run.spec import plan_run

NAMES = ("by-hand-aa11", "by-hand-ab22", "latest-of-all", "weekly")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = handmade_runs.open_store(tmp_path_factory.mktemp("runs"))
    rows = [handmade_runs.Row("row", "text")]
    for name in NAMES:
        handmade_runs.write_run(store, name, rows, rows)
    return store


@pytest.mark.parametrize(
    ("short", "name"),
    [
        *((name, name) for name in NAMES),
        ("aa", "by-hand-aa11"),
        ("ab22", "by-hand-ab22"),
        ("by-hand-aa", "by-hand-aa11"),
        ("week", "weekly"),
        ("latest", "weekly"),
        ("previous", "latest-of-all"),
    ],
)
def test_a_short_name_is_the_run_that_begins_with_it(store, short, name):
    assert resolve_run_name(store, short) == name


@pytest.mark.parametrize(
    ("short", "fragments"),
    [
        ("by-hand", ("got that of 2", "by-hand-aa11, by-hand-ab22")),
        ("a", ("by-hand-aa11",)),
        ("nightly", ("by-hand-aa11", "weekly")),
    ],
)
def test_other_names_are_refused_with_the_runs(store, short, fragments):
    with pytest.raises(StoreError) as refusal:
        resolve_run_name(store, short)
    for fragment in fragments:
        assert fragment in str(refusal.value)


def test_there_is_no_run_before_the_only_finished_one(tmp_path):
    store = handmade_runs.open_store(tmp_path)
    with pytest.raises(StoreError, match="0 finished of 0 runs"):
        resolve_run_name(store, "latest")
    rows = [handmade_runs.Row("row", "text")]
    handmade_runs.write_run(store, "single", rows, rows)
    assert resolve_run_name(store, "latest") == "single"
    with pytest.raises(StoreError, match="1 finished of 1 runs"):
        resolve_run_name(store, "previous")


def test_latest_is_refused_where_an_older_run_is_called_so(tmp_path):
    store = handmade_runs.open_store(tmp_path)
    rows = [handmade_runs.Row("row", "text")]
    handmade_runs.write_run(store, "latest", rows, rows)
    assert resolve_run_name(store, "latest") == "latest"
    handmade_runs.write_run(store, "night-b", rows, rows)
    assert resolve_run_name(store, "previous") == "latest"
    with pytest.raises(StoreError, match="the run of that name, and night-b"):
        resolve_run_name(store, "latest")
    assert resolve_run_name(store, "late") == "latest"


@pytest.mark.parametrize("name", ["latest", "previous"])
def test_a_new_run_has_no_name_that_stands_for_others(world, name):
    study = world / "study.toml"
    with pytest.raises(InputError, match=f"--run: .*{name}, the"):
        plan_run(study, name)
    assert plan_run(study, f"{name}-1").record.run == f"{name}-1"
