"""Harm of labels and sources to slices against sums in plain Python."""

import pytest
from handmade_runs import make_run_data, rows

from tasks.report.harm_shares import list_harm_shares


def sum_harm(effects, train, queries, column, value, part):
    """Harm of the rows with a value to the queries of a slice; of all rows without a column."""
    return sum(
        max(0.0, -effect)
        for (q, t), effect in effects.items()
        if queries[q].groups["kind"] == part
        and (column is None or {"label": train[t].label, **train[t].groups}[column] == value)
    )


def test_shares_are_sums_of_the_kept_negative_effects(tmp_path):
    train, queries = (
        rows("t", 40, ["x", "y", None, "z"], "source"),
        rows("q", 12, ["m", "n"], "kind"),
    )
    effects = {(q, t): 0.1 * ((5 * t + q) % 7) - 0.3 for q in range(12) for t in range(40)}
    listed = list_harm_shares(make_run_data(tmp_path, train, queries, effects=effects))
    assert listed
    for row in listed:
        harm = sum_harm(effects, train, queries, row.column, row.value, row.slice)
        every = sum_harm(effects, train, queries, None, None, row.slice)
        assert row.harm == pytest.approx(harm, rel=1e-6)
        assert row.share == pytest.approx(harm / every, rel=1e-6)
        assert row.base == (0.5 if row.column == "label" else 0.25)
        assert row.share > row.base
    excesses = [row.harm - row.base * row.harm / row.share for row in listed]
    assert excesses == sorted(excesses, reverse=True)


def test_the_guilty_source_of_a_slice_comes_first(tmp_path):
    """All harm to one slice is from one source of a quarter of the rows."""
    train, queries = (
        rows("t", 40, ["x", "y", "z", "w"], "source"),
        rows("q", 12, ["m", "n"], "kind"),
    )
    effects = {
        (q, t): -1.0 if queries[q].groups["kind"] == "n" and t % 4 == 2 else 0.1
        for q in range(12)
        for t in range(40)
    }
    first, *others = list_harm_shares(make_run_data(tmp_path, train, queries, effects=effects))
    assert (first.column, first.value, first.slice) == ("source", "z", "n")
    assert (first.share, first.base) == (1.0, 0.25)
    assert {other.slice for other in others} <= {"n"}


def test_a_run_without_harm_has_no_shares(tmp_path):
    train, queries = rows("t", 4, ["x"], "source"), rows("q", 4, ["m"], "kind")
    effects = {(q, t): 0.1 for q in range(4) for t in range(4)}
    assert list_harm_shares(make_run_data(tmp_path, train, queries, effects=effects)) == []
