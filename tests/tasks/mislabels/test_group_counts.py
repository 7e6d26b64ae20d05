"""Suspicious labels by source, counted by hand."""

import polars as pl
import pytest
from scipy.stats import hypergeom

from tasks.mislabels.group_counts import MAX_VALUES, add_group_columns, count_by_group
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


def test_the_source_of_the_bad_labels_is_named():
    sources = ["b" if i % 10 == 0 else "a" for i in range(ROWS)]  # 20 of b, 180 of a
    suspicious = [i for i in range(ROWS) if i % 10 == 0][:12] + list(range(1, 9))
    (counts,) = count_by_group(make_table({"source": sources}, suspicious), budget=100)
    assert (counts.name, counts.window) == ("source", 20)
    first, second = counts.values
    assert (first.value, first.rows, first.suspicious, first.by_size) == ("b", 20, 12, 2.0)
    assert (second.value, second.rows, second.suspicious, second.by_size) == ("a", 180, 8, 18.0)
    assert first.mean_probability == pytest.approx((12 * 0.9 + 8 * 0.1) / 20)
    by_hand = sum(hypergeom.pmf(k, ROWS, 20, 20) for k in range(12, 21))
    assert first.p_value == pytest.approx(by_hand)
    assert counts.excesses == (first,)
    assert list(describe_excesses(counts)) == [
        "source b has 12 of the 20 most suspicious labels, with 10% of the rows."
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
