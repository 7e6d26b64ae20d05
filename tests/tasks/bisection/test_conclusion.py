"""Verdicts on suspects: a group is blamed only beyond the noise of retraining."""

import polars as pl
import pytest
from handmade_runs import Row, open_store, write_run

from tasks.bisection.bisect_runs import bisect_runs
from tasks.bisection.conclusion import (
    CONFIRMED,
    OPPOSITE,
    UNKNOWN,
    WITHIN_NOISE,
    Retraining,
    conclude,
)
from tasks.bisection.findings import list_findings, list_rows

COUNT = 40


@pytest.fixture
def bisection(tmp_path):
    """A bisection with one group of added rows, which raised the loss by 0.1 nats."""
    store = open_store(tmp_path)
    train = [Row(f"r{i}", f"text {i}") for i in range(3)]
    for run, rows, loss in (("one", train, 0.5), ("two", [*train, Row("new", "more")], 0.6)):
        queries = [
            Row(f"q{i}", f"query {i}", "ab"[i % 2], loss=loss + 0.001 * (i * (run == "two")))
            for i in range(COUNT)
        ]
        effects = {(q, t): -0.1 for q in range(COUNT) for t in range(len(rows))}
        write_run(store, run, rows, queries, effects, model=run)
    return bisect_runs(store, "one", "two")


def retraining(bisection, group, effect, spread=0.001):
    """A retraining after which the losses of both strata are lower by `effect`."""
    values = [effect + spread * (-1) ** (i // 2) for i in range(COUNT)]
    frame = bisection.losses.common.select("stratum", "chosen")
    return Retraining(group, 0, frame.with_columns(difference=pl.Series(values)))


@pytest.mark.parametrize(
    ("effect", "noise", "verdict"),
    [
        (0.09, 0.002, CONFIRMED),
        (0.09, 0.05, WITHIN_NOISE),
        (0.002, 0.002, WITHIN_NOISE),
        (-0.09, 0.002, OPPOSITE),
        (0.09, None, UNKNOWN),
    ],
)
def test_a_group_is_confirmed_only_beyond_the_noise(bisection, effect, noise, verdict):
    group = bisection.contributions[0].group
    trainings = [retraining(bisection, group, effect)]
    trainings += [] if noise is None else [retraining(bisection, None, noise)]
    conclusion = conclude(bisection, trainings)
    assert conclusion.assess(group) == verdict
    assert conclusion.blamed == ((group,) if verdict == CONFIRMED else ())
    text = " ".join(list_findings(conclusion))
    assert ("Confirmed as a cause: added." in text) == (verdict == CONFIRMED)


def test_a_small_contribution_is_never_confirmed(bisection):
    """A retraining that moved the loss by chance does not make a harmless group guilty."""
    group = bisection.contributions[0].group
    trainings = [retraining(bisection, group, 0.5), retraining(bisection, None, 0.04)]
    assert conclude(bisection, trainings).assess(group) == WITHIN_NOISE


def test_controls_and_repeats_are_pooled(bisection):
    once = conclude(bisection, [retraining(bisection, None, 0.03)]).bisection
    assert once.noise.degrees == 2
    both = conclude(once, [retraining(bisection, None, 0.04)]).bisection.noise
    assert (both.degrees, both.trainings) == (4, 2)
    assert both.deviation == pytest.approx(((0.03**2 + 0.04**2) / 2) ** 0.5, rel=1e-3)


def test_without_retraining_the_first_suspect_is_named_but_not_blamed(bisection):
    findings = list_findings(conclude(bisection, (), "no reason"))
    assert findings[-1] == "First suspect, not confirmed: added (no reason)."
    assert "noise of retraining is not measured" in findings[1]


def test_rows_of_the_table_sum_to_the_change(bisection):
    *groups, rest = list_rows(conclude(bisection, ()))
    values = [float(row[2].split()[0]) for row in (*groups, rest)]
    assert sum(values) == pytest.approx(bisection.losses.change, abs=1e-3)
    assert list_rows(conclude(bisection, ()), most=0)[0][:2] == ("1 other groups", "1")
