"""Contributions against retrainings in closed form, of ridge regressions on a few rows."""

import numpy as np
import polars as pl
import pytest
from handmade_runs import Row, open_store, write_run

from tasks.bisection.bisect_runs import bisect_runs
from tasks.bisection.change_groups import describe_group
from tasks.bisection.slice_effects import read_slice_effects

RIDGE = 0.5
RANDOM = np.random.default_rng(0)
INPUTS = {f"r{i}": RANDOM.normal(size=3) for i in range(40)}
QUERY_INPUTS = RANDOM.normal(size=(12, 3))
QUERY_TARGETS = RANDOM.normal(size=12)
TARGETS = {"a": -1.0, "b": 1.0}


def losses(rows):
    """Half the squared errors of the queries after a ridge regression on rows (name, label)."""
    x = np.array([INPUTS[name] for name, _ in rows])
    y = np.array([TARGETS[label] for _, label in rows])
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(3), x.T @ y)
    return 0.5 * (QUERY_INPUTS @ weights - QUERY_TARGETS) ** 2


def write_ridge_run(store, run, rows, sources=None, left_out=()):
    """Store a run with the exact removal effect of every row but those that are left out."""
    whole = losses(rows)
    effects = {}
    for t in range(len(rows)):
        without = losses([*rows[:t], *rows[t + 1 :]])
        effects |= {(q, t): without[q] - whole[q] for q in range(12) if (q, t) not in left_out}
    train = [
        Row(name, f"text {name}", label, groups={"source": (sources or {}).get(name, "old")})
        for name, label in rows
    ]
    queries = [
        Row(f"q{q}", f"query {q}", groups={"part": "odd" if q % 2 else "even"}, loss=whole[q])
        for q in range(12)
    ]
    return write_run(store, run, train, queries, effects, model=run)


BASE = [(f"r{i}", "ab"[i % 2]) for i in range(20)]


@pytest.mark.parametrize(
    ("after", "name"),
    [
        ([*BASE, ("r30", "a")], "added, source old"),
        (BASE[1:], "removed, source old"),
        ([("r0", "b"), *BASE[1:]], "relabelled, source old"),
    ],
)
@pytest.mark.parametrize("value", [None, "odd"])
def test_one_changed_row_explains_the_whole_change(tmp_path, after, name, value):
    """With exact effects the contribution of a single row is the change itself."""
    store = open_store(tmp_path)
    write_ridge_run(store, "one", BASE)
    write_ridge_run(store, "two", after)
    bisection = bisect_runs(store, "one", "two", value)
    part = slice(1, None, 2) if value else slice(None)
    truth = (losses(after) - losses(BASE))[part].mean()
    (only,) = bisection.contributions
    assert describe_group(only.group) == name
    assert bisection.losses.change == pytest.approx(truth, rel=1e-4)
    assert only.value == pytest.approx(truth, rel=1e-4)
    assert only.is_complete
    assert bisection.rest == pytest.approx(0, abs=1e-6)


def test_a_second_night_is_split_by_source(tmp_path):
    """Rows added, removed and relabelled at once: each group against its own retraining."""
    wrong = [(f"r{i}", "b") for i in range(20, 23)]
    fine = [("r30", "a"), ("r31", "b")]
    relabelled = [(name, "b" if name == "r4" else label) for name, label in BASE[2:]]
    after = [*relabelled, *wrong, *fine]
    sources = {name: "bad" for name, _ in wrong} | {name: "day" for name, _ in fine}
    store = open_store(tmp_path)
    write_ridge_run(store, "one", BASE)
    write_ridge_run(store, "two", after, sources)
    bisection = bisect_runs(store, "one", "two")
    values = {describe_group(each.group): each.value for each in bisection.contributions}
    now = losses(after).mean()
    truth = {
        "added, source bad": now - losses([*relabelled, *fine]).mean(),
        "added, source day": now - losses([*relabelled, *wrong]).mean(),
        "relabelled, source old": now - losses([*BASE[2:], *wrong, *fine]).mean(),
        "removed, source old": losses(BASE[2:]).mean() - losses(BASE).mean(),
    }
    assert values.keys() == truth.keys()
    for name, value in truth.items():  # of first order: groups of a few rows are not additive
        assert values[name] == pytest.approx(value, rel=0.5, abs=0.005), name
    assert max(values, key=lambda name: abs(values[name])) == max(
        truth, key=lambda name: abs(truth[name])
    )
    total = sum(values.values())
    assert bisection.explained == pytest.approx(total)
    assert bisection.rest == pytest.approx(now - losses(BASE).mean() - total, abs=1e-6)


def test_missing_effects_are_reported_and_never_zero(tmp_path):
    store = open_store(tmp_path)
    write_ridge_run(store, "one", BASE)
    after = [*BASE, ("r30", "a"), ("r31", "a")]
    gone = {(q, 20) for q in range(12)}
    half = {(q, 21) for q in range(6)}
    write_ridge_run(store, "two", after, {"r30": "x", "r31": "y"}, left_out=gone | half)
    bisection = bisect_runs(store, "one", "two")
    by_source = {each.group.source: each for each in bisection.contributions}
    assert by_source["x"].value is None
    assert by_source["x"].stored == 0
    assert bisection.contributions[-1] is by_source["x"]
    assert by_source["x"] not in bisection.suspects
    assert by_source["y"].stored == pytest.approx(0.5)
    assert not by_source["y"].is_complete


def test_rows_that_no_model_was_trained_on_contribute_nothing(tmp_path):
    store = open_store(tmp_path)
    write_ridge_run(store, "one", BASE)
    write_ridge_run(store, "two", [*BASE, ("r30", "a"), ("r31", "a")], {"r30": "x"})
    train = store.scan("train", "two").collect()
    is_new = pl.col("id") == "r30"
    store.commit("two", "train", {"train": train.with_columns(trained=~is_new)})
    by_source = {each.group.source: each for each in bisect_runs(store, "one", "two").contributions}
    assert (by_source["x"].value, by_source["x"].untrained) == (0.0, 1)
    assert by_source["old"].untrained == 0
    assert by_source["old"].value


def test_effects_of_a_slice_are_means_over_its_queries(tmp_path):
    store = open_store(tmp_path)
    write_ridge_run(store, "one", BASE)
    scores = store.scan("scores", "one").collect()
    wanted = pl.Series([1, 3, 8])
    effects = read_slice_effects(store, "one", wanted)
    for train, effect, stored in effects.iter_rows():
        of_row = scores.filter(pl.col("query").is_in([1, 3, 8]), pl.col("train") == train)
        assert effect == pytest.approx(of_row["removal_effect"].sum() / 3, rel=1e-5)
        assert stored == 1
