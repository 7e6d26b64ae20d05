"""The last comparable run, equal for report and alerts, by sequence number instead of time."""

import handmade_runs
from handmade_runs import Row

from storage import Store
from tasks.report.run_data import read_run_data
from tasks.results.alerts import find_breaches
from tasks.results.comparability import find_comparable_run
from tasks.results.compare_runs import diff_runs
from tasks.study.night_sections import Notify

TRAIN, QUERIES = [Row(f"t{i}", f"text {i}") for i in range(3)], [Row("q", "query")]


def write_run(store: Store, name: str, harmful: int, **parts: str) -> None:
    """Write a run with one harmful training row; all runs are opened in the same second."""
    effects = {(0, t): -0.5 if t == harmful else 0.5 for t in range(len(TRAIN))}
    handmade_runs.write_run(store, name, TRAIN, QUERIES, effects, **parts)


def test_of_runs_in_the_same_second_the_earlier_is_compared(tmp_path):
    """Also if its name sorts later, and if an incomparable run is between them."""
    store = handmade_runs.open_store(tmp_path)
    write_run(store, "z", 0)
    write_run(store, "m", 0, damping="other")
    write_run(store, "a", 1)
    created = {store.read_record(name).created for name in ("z", "m", "a")}
    assert len(created) == 1
    assert [find_comparable_run(store, name) for name in ("z", "m", "a")] == [None, None, "z"]
    assert read_run_data(store, "a", tmp_path / "study.toml").against == "z"
    (breach,) = find_breaches(store, "a", Notify(new_suspects_above=0))
    assert (breach.what, breach.found) == ("new_suspects_above", 1)
    assert list(find_breaches(store, "z", Notify(new_suspects_above=0))) == []


def test_runs_with_other_selected_dampings_are_compared_by_order_alone(tmp_path):
    """With "auto" the tables decide; the settings of both runs are equal."""
    store = handmade_runs.open_store(tmp_path)
    for name, damping in (("one", 0.05), ("two", 0.05), ("three", 0.03)):
        handmade_runs.write_run(store, name, TRAIN, QUERIES, solves={"damping": damping})
    assert diff_runs(store, "one", "two").comparability.level == "numbers"
    verdict = diff_runs(store, "two", "three").comparability
    assert verdict.level == "order"
    assert "damping: 0.05 became 0.03" in str(verdict)
