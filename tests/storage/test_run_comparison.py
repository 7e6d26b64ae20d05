"""Changes between two runs, compared with an implementation in plain Python."""

import math
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import frame

from storage.run_comparison import (
    ENTERED_DOUBLED,
    ENTERED_ONLY,
    LEFT_HALVED,
    LEFT_ONLY,
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
SCALES = st.none() | st.fixed_dictionaries(
    {row: st.sampled_from([0.25, 0.5, 1.0, 4.0]) for row in IDS}
)
ONES = dict.fromkeys(IDS, 1.0)


def tables(run, order, label=lambda row: "x", asked_in="north", scales=None):
    """A run of {query id: {row id: effect}}; `order` gives the rows their positions.

    With `scales` of the rows, effects times scale are the ranking scores.
    """
    rows = []
    for query, (_, effects) in enumerate(sorted(run.items())):
        numbers = {row: effect * (scales[row] if scales else 1) for row, effect in effects.items()}
        ordered = sorted(effects, key=lambda row: (numbers[row], order.index(row)))
        for rank, row in enumerate(ordered):
            score = numbers[row] if scales else None
            rows.append((query, order.index(row), rank, effects[row], None, None, score))
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


def compute_unknown_harm(run, shared, scales=None):
    """Upper bound of each row's harm to queries without a stored effect of it.

    With scales it is known of rows with a ranking score other than 0, and else infinite.
    """
    worst = dict.fromkeys(IDS, 0.0)
    for query in shared:
        kept = sorted(effect * (scales or ONES)[row] for row, effect in run[query].items())
        bar = max(0.0, -kept[(len(kept) - 1) // 2]) if kept else 0.0
        for row in IDS:
            worst[row] += 0.0 if row in run[query] else bar
    for row in IDS if scales else ():
        is_stored = any(run[query].get(row) for query in shared)
        worst[row] = worst[row] / scales[row] if is_stored or not worst[row] else math.inf
    return worst


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(RUN, RUN, SCALES, SCALES, st.permutations(list(IDS)), st.integers(1, 4))
def test_rows_that_entered_or_left_the_top_k(before, after, past, present, order, k):
    order = "".join(order)
    earlier, later = tables(before, IDS, scales=past), tables(after, order, scales=present)
    actual = find_changes(earlier, later, k)
    shared = sorted(set(before) & set(after))
    (old, was), (new, now) = sum_harm(before, shared, IDS), sum_harm(after, shared, order)
    least = compute_unknown_harm(before, shared, past)
    most = compute_unknown_harm(after, shared, present)
    expected = {}
    for row in IDS:
        b, a = -old.get(row, 0.0), -new.get(row, 0.0)
        if row in now[:k] and row not in was[:k]:
            expected[row] = ENTERED_DOUBLED if a >= 2 * (b + least[row]) else ENTERED_ONLY
        elif row in was[:k] and row not in now[:k]:
            expected[row] = LEFT_HALVED if 2 * (a + most[row]) <= b else LEFT_ONLY
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


def one_query(effects, rows=None, scales=None):
    """A run of one query with an effect of each row; `rows` are those of its training table."""
    return tables({"q1": effects}, rows or "".join(effects), scales=scales)


def words(before, after, k, **keys):
    """Change by row id."""
    return {row["id"]: row["change"] for row in find_changes(before, after, k, **keys).to_dicts()}


def test_an_overtaken_row_has_not_stopped_being_harmful():
    before = {"a": -1.0, "b": -0.9, "c": -0.1, "d": -0.1}
    # The new rows e and f are more harmful; effects have the factor 1/6 now, not 1/4.
    after = {row: effect * 4 / 6 for row, effect in before.items()} | {"e": -3.0, "f": -2.0}
    expected = {"a": LEFT_ONLY, "b": LEFT_ONLY, "e": ENTERED_DOUBLED, "f": ENTERED_DOUBLED}
    assert words(one_query(before), one_query(after), 2) == expected
    assert words(one_query(after), one_query(before), 2) == {
        "a": ENTERED_ONLY, "b": ENTERED_ONLY, "e": LEFT_HALVED, "f": LEFT_HALVED
    }  # fmt: skip


def test_a_row_with_much_less_harm_has_stopped():
    before, after = {"a": -1.0, "b": -0.2, "c": 0.5}, {"a": -0.1, "b": -0.2, "c": 0.5}
    assert words(one_query(before), one_query(after), 1) == {"a": LEFT_HALVED, "b": ENTERED_ONLY}


def test_unstored_effects_are_bounded_by_stored_ones():
    """Row a is not stored in the second run: its harm is at most that of c."""
    before = one_query({"a": -1.0, "b": -0.1, "c": -0.2, "d": 0.1})
    kept = one_query({"b": -2.0, "c": -0.9, "d": 0.5, "e": 0.4}, "abcde")
    assert words(before, kept, 1)["a"] == LEFT_ONLY
    kept = one_query({"b": -2.0, "c": -0.3, "d": 0.5, "e": 0.4}, "abcde")
    assert words(before, kept, 1)["a"] == LEFT_HALVED


def test_unstored_effects_of_a_ranking_score_are_bounded_by_the_row_s_own_scale():
    """Row a is ranked in the second query only: in the first its ranking score is at least -0.3."""
    before = {"q1": {"a": -1.0, "b": -0.1}, "q2": {"a": -0.1}}
    kept = {"q1": {"b": -2.0, "c": -0.3, "d": 0.5, "e": 0.4}, "q2": {"a": -0.1}}
    for scale, expected in ((1.0, LEFT_HALVED), (0.25, LEFT_ONLY)):
        scaled = tables(kept, IDS, scales=ONES | {"a": scale})
        assert words(tables(before, IDS), scaled, 1)["a"] == expected
    never = tables(kept | {"q2": {"b": -0.1}}, IDS, scales=ONES)
    assert words(tables(before, IDS), never, 1)["a"] == LEFT_ONLY, "its scale is not known"


@pytest.mark.parametrize("factor", [0.01, 3.0, 100.0])
def test_effects_of_another_scale_are_rescaled(factor):
    before = one_query({"a": -1.0, "b": -0.9, "c": -0.8})
    after = one_query({"a": -0.79 * factor, "b": -0.9 * factor, "c": -0.8 * factor})
    assert words(before, after, 2, sizes=False) == {"a": LEFT_ONLY, "c": ENTERED_ONLY}
