"""Changes between two runs, compared with an implementation in plain Python."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import frame

from storage.run_comparison import (
    BECAME_HARMFUL,
    MOVED_UP,
    OVERTAKEN,
    STOPPED_HARMING,
    RunTables,
    find_changes,
)
from storage.schemas import SCORES

EFFECTS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 1.0])
IDS = "abcdefgh"
RUN = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(IDS), EFFECTS, max_size=6),
    min_size=1,
)


def tables(run, order, label=lambda row: "x", asked_in="north"):
    """A run of {query id: {row id: effect}}; `order` gives the rows their positions."""
    rows = []
    for query, (_, effects) in enumerate(sorted(run.items())):
        ordered = sorted(effects.items(), key=lambda item: (item[1], order.index(item[0])))
        for rank, (row, effect) in enumerate(ordered):
            rows.append((query, order.index(row), rank, effect, None, None))
    queries = pl.LazyFrame(
        {"query": range(len(run)), "id": sorted(run), "group_side": [asked_in] * len(run)},
        schema_overrides={"query": pl.UInt32},
    )
    train = pl.LazyFrame(
        {
            "train": range(len(order)),
            "id": list(order),
            "label": [label(row) for row in order],
            "group_source": [f"source {row}" for row in order],
        },
        schema_overrides={"train": pl.UInt32},
    )
    return RunTables(frame(SCORES, rows).lazy(), queries, train)


def sum_harm(run, shared, order):
    sums = {}
    for query in shared:
        for row, effect in run[query].items():
            if effect < 0:
                sums[row] = sums.get(row, 0.0) + effect
    return sums, sorted(sums, key=lambda row: (sums[row], order.index(row)))


def compute_unknown_harm(run, shared):
    """Upper bound of each row's harm to queries without a stored effect of it."""
    worst = dict.fromkeys(IDS, 0.0)
    for query in shared:
        kept = sorted(run[query].values())
        bar = max(0.0, -kept[(len(kept) - 1) // 2]) if kept else 0.0
        for row in IDS:
            worst[row] += 0.0 if row in run[query] else bar
    return worst


@settings(max_examples=60, deadline=None)
@given(RUN, RUN, st.permutations(list(IDS)), st.integers(1, 4))
def test_rows_that_entered_or_left_the_top_k(before, after, order, k):
    order = "".join(order)
    actual = find_changes(tables(before, IDS), tables(after, order), k)
    shared = sorted(set(before) & set(after))
    (old, was), (new, now) = sum_harm(before, shared, IDS), sum_harm(after, shared, order)
    least, most = compute_unknown_harm(before, shared), compute_unknown_harm(after, shared)
    expected = {}
    for row in IDS:
        b, a = -old.get(row, 0.0), -new.get(row, 0.0)
        if row in now[:k] and row not in was[:k]:
            expected[row] = BECAME_HARMFUL if a >= 2 * (b + least[row]) else MOVED_UP
        elif row in was[:k] and row not in now[:k]:
            expected[row] = STOPPED_HARMING if 2 * (a + most[row]) <= b else OVERTAKEN
    by_id = {row["id"]: row for row in actual.to_dicts()}
    assert {row: record["change"] for row, record in by_id.items()} == expected
    for row, record in by_id.items():
        assert record["effect_before"] == old.get(row, 0.0)
        assert record["effect_after"] == new.get(row, 0.0)
        assert record["group_source"] == f"source {row}"
    gaps = [abs(record["effect_after"] - record["effect_before"]) for record in actual.to_dicts()]
    assert gaps == sorted(gaps, reverse=True)


def test_new_removed_and_relabelled_rows_are_marked():
    before, after = {"q1": {"a": -1.0, "b": -2.0}}, {"q1": {"c": -3.0, "d": -4.0}}
    old = tables(before, "abd", label=lambda row: "x")
    new = tables(after, "bcd", label=lambda row: "y" if row == "d" else "x")
    by_id = {row["id"]: row for row in find_changes(old, new, 2).to_dicts()}
    assert (by_id["a"]["gone"], by_id["a"]["new"], by_id["a"]["label"]) == (True, False, "x")
    assert (by_id["b"]["gone"], by_id["b"]["new"]) == (False, False)
    assert (by_id["c"]["new"], by_id["c"]["relabelled"]) == (True, False)
    assert (by_id["d"]["relabelled"], by_id["d"]["label"]) == (True, "y")


def test_a_slice_of_the_queries():
    before, single = tables({"q1": {}}, IDS), tables({"q1": {"a": -1.0}}, IDS)
    for side, count in (("north", 1), ("south", 0)):
        chosen = replace(single, queries=single.queries.filter(group_side=side))
        assert find_changes(before, chosen, 5).height == count


def one_query(effects, rows=None):
    """A run of one query with an effect of each row; `rows` are those of its training table."""
    return tables({"q1": effects}, rows or "".join(effects))


def words(before, after, k, **keys):
    """Change by row id."""
    return {row["id"]: row["change"] for row in find_changes(before, after, k, **keys).to_dicts()}


def test_an_overtaken_row_has_not_stopped_being_harmful():
    before = {"a": -1.0, "b": -0.9, "c": -0.1, "d": -0.1}
    # The new rows e and f are more harmful; effects have the factor 1/6 now, not 1/4.
    after = {row: effect * 4 / 6 for row, effect in before.items()} | {"e": -3.0, "f": -2.0}
    expected = {"a": OVERTAKEN, "b": OVERTAKEN, "e": BECAME_HARMFUL, "f": BECAME_HARMFUL}
    assert words(one_query(before), one_query(after), 2) == expected
    assert words(one_query(after), one_query(before), 2) == {
        "a": MOVED_UP, "b": MOVED_UP, "e": STOPPED_HARMING, "f": STOPPED_HARMING
    }  # fmt: skip


def test_a_row_with_much_less_harm_has_stopped():
    before, after = {"a": -1.0, "b": -0.2, "c": 0.5}, {"a": -0.1, "b": -0.2, "c": 0.5}
    assert words(one_query(before), one_query(after), 1) == {"a": STOPPED_HARMING, "b": MOVED_UP}


def test_unstored_effects_are_bounded_by_stored_ones():
    """Row a is not stored in the second run: its harm is at most that of c."""
    before = one_query({"a": -1.0, "b": -0.1, "c": -0.2, "d": 0.1})
    kept = one_query({"b": -2.0, "c": -0.9, "d": 0.5, "e": 0.4}, "abcde")
    assert words(before, kept, 1)["a"] == OVERTAKEN
    kept = one_query({"b": -2.0, "c": -0.3, "d": 0.5, "e": 0.4}, "abcde")
    assert words(before, kept, 1)["a"] == STOPPED_HARMING


@pytest.mark.parametrize("factor", [0.01, 3.0, 100.0])
def test_effects_of_another_scale_are_rescaled(factor):
    before = one_query({"a": -1.0, "b": -0.9, "c": -0.8})
    after = one_query({"a": -0.79 * factor, "b": -0.9 * factor, "c": -0.8 * factor})
    assert words(before, after, 2, sizes=False) == {"a": OVERTAKEN, "c": MOVED_UP}
