"""Suspicious labels by source, counted by hand."""

from fractions import Fraction
from math import comb

import polars as pl
import pytest

from tasks.mislabels.group_counts import (
    MAX_VALUES,
    SIGNIFICANCE,
    GroupCount,
    GroupCounts,
    add_group_columns,
    count_by_group,
)
from tasks.results.suspicious_groups import describe_excesses

ROWS = 200


def make_table(groups, suspicious, reviewed=()):
    """A ranking in which the rows of `suspicious` come first."""
    order = [*suspicious, *(i for i in range(ROWS) if i not in suspicious)]
    rank = {row: place for place, row in enumerate(order)}
    table = pl.DataFrame(
        {
            "train": range(ROWS),
            "rank": [rank[i] for i in range(ROWS)],
            "probability": [0.9 if i in suspicious else 0.1 for i in range(ROWS)],
            "reviewed": ["pos" if i in reviewed else None for i in range(ROWS)],
        },
        schema_overrides={"reviewed": pl.String},
    )
    return add_group_columns(table, groups)


def tail(least, rows, members, window):
    """Chance of at least so many members in a window of a random order, by counting the orders."""
    hits = range(least, min(members, window) + 1)
    ways = sum(comb(members, k) * comb(rows - members, window - k) for k in hits)
    return float(Fraction(ways, comb(rows, window)))


def test_the_source_of_the_bad_labels_is_named():
    sources = ["b" if i % 10 == 0 else "a" for i in range(ROWS)]  # 20 of b, 180 of a
    suspicious = [i for i in range(ROWS) if i % 10 == 0][:12] + list(range(1, 9))
    (counts,) = count_by_group(make_table({"source": sources}, suspicious), budget=100)
    assert (counts.name, counts.window) == ("source", 20)
    first, second = counts.values
    assert (first.value, first.rows, first.suspicious, first.by_size) == ("b", 20, 12, 2.0)
    assert (second.value, second.rows, second.suspicious, second.by_size) == ("a", 180, 8, 18.0)
    assert first.mean_probability == pytest.approx((12 * 0.9 + 8 * 0.1) / 20)
    assert first.p_value == pytest.approx(tail(12, ROWS, 20, 20), rel=1e-9)
    assert second.p_value == pytest.approx(tail(8, ROWS, 180, 20), rel=1e-9)
    assert counts.excesses == (first,)
    assert list(describe_excesses(counts)) == [
        "source b has 12 of the 20 most suspicious labels, with 10% of the rows."
    ]


def test_the_share_of_a_tiny_source_is_not_zero():
    tiny, others = GroupCount("b", 3, 3, 0.03, 0.9, 1e-6), GroupCount("a", 1997, 17, 20, 0.1, 1.0)
    counts = GroupCounts("source", 20, (tiny, others), 2)
    assert list(describe_excesses(counts)) == [
        "source b has 3 of the 20 most suspicious labels, with less than 1% of the rows."
    ]


def test_no_source_is_named_where_each_has_its_share():
    sources = ["b" if i % 10 == 0 else "a" for i in range(ROWS)]
    (counts,) = count_by_group(make_table({"source": sources}, list(range(20))), budget=100)
    assert [count.suspicious for count in counts.values] == [2, 18]
    assert counts.excesses == ()


def test_reviewed_rows_are_left_out_and_rows_without_a_value_are_a_group():
    sources = [None if i < 50 else "a" for i in range(ROWS)]
    table = make_table({"source": sources}, list(range(20)), reviewed=range(20))
    (counts,) = count_by_group(table, budget=5)
    assert counts.window == 5
    assert {count.value: count.rows for count in counts.values} == {None: 30, "a": 150}
    assert sum(count.suspicious for count in counts.values) == 5


def test_a_column_with_too_many_values_is_not_counted():
    dates = [f"2026-01-{i % (MAX_VALUES + 1)}" for i in range(ROWS)]
    (counts,) = count_by_group(make_table({"date": dates}, [0]), budget=100)
    assert (counts.values, counts.distinct) == ((), MAX_VALUES + 1)


@pytest.mark.parametrize("values", [2, 20])
def test_the_more_values_the_more_rows_are_needed(values):
    """Five of the first twenty where one is expected: by chance once in 900."""
    others = [f"a{i % (values - 1)}" for i in range(ROWS)]
    sources = ["b" if i < 10 else others[i] for i in range(ROWS)]
    p_value = tail(5, ROWS, 10, 20)
    assert SIGNIFICANCE / 20 < p_value < SIGNIFICANCE / 2
    suspicious = [*range(5), *range(20, 35)]
    (counts,) = count_by_group(make_table({"source": sources}, suspicious), budget=100)
    assert len(counts.values) == values
    assert next(c for c in counts.values if c.value == "b").p_value == pytest.approx(p_value)
    assert ("b" in [count.value for count in counts.excesses]) == (values == 2)


def test_rows_that_are_almost_certainly_right_are_not_suspicious():
    """The order of rows that are all right is no evidence of wrong labels of a group."""
    sources = ["b" if i % 10 == 0 else "a" for i in range(ROWS)]
    table = make_table({"source": sources}, list(range(0, ROWS, 10)))
    (counts,) = count_by_group(table, budget=100)
    assert (counts.window, [count.value for count in counts.excesses]) == (20, ["b"])
    few = pl.when(pl.col("rank") < 3).then(0.5).otherwise(1e-6)
    (counts,) = count_by_group(table.with_columns(probability=few), budget=100)
    assert (counts.window, counts.values[0].suspicious, counts.values[0].rows) == (3, 3, 20)
    assert list(count_by_group(table.with_columns(probability=pl.lit(1e-6)), budget=100)) == []


def test_columns_are_counted_each_by_itself():
    table = make_table({"source": ["a"] * ROWS, "day": ["x", "y"] * 100}, [0, 2, 4])
    source, day = count_by_group(table, budget=100)
    assert [(c.value, c.rows, c.suspicious, c.p_value) for c in source.values] == [
        ("a", ROWS, 20, 1.0)
    ]
    assert source.excesses == ()
    assert {count.value: count.rows for count in day.values} == {"x": 100, "y": 100}
    assert sum(count.suspicious for count in day.values) == day.window == 20
