"""What changed between two runs, against the same question in plain Python."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import frame

from storage import SCORES
from storage.comparison import BECAME, STOPPED, Tables, changes

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
    return Tables(frame(SCORES, rows).lazy(), queries, train)


def harm(run, shared, order):
    sums = {}
    for query in shared:
        for row, effect in run[query].items():
            if effect < 0:
                sums[row] = sums.get(row, 0.0) + effect
    return sums, sorted(sums, key=lambda row: (sums[row], order.index(row)))


@settings(max_examples=60, deadline=None)
@given(RUN, RUN, st.permutations(list(IDS)), st.integers(1, 4))
def test_who_entered_the_worst_and_who_left_them(before, after, order, k):
    order = "".join(order)
    found = changes(tables(before, IDS), tables(after, order), k)
    shared = sorted(set(before) & set(after))
    (old, was), (new, now) = harm(before, shared, IDS), harm(after, shared, order)
    expected = {row: BECAME for row in now[:k] if row not in was[:k]}
    expected |= {row: STOPPED for row in was[:k] if row not in now[:k]}
    told = {row["id"]: row for row in found.to_dicts()}
    assert {row: one["change"] for row, one in told.items()} == expected
    for row, one in told.items():
        assert one["effect_before"] == old.get(row, 0.0)
        assert one["effect_after"] == new.get(row, 0.0)
        assert one["group_source"] == f"source {row}"
    gaps = [abs(one["effect_after"] - one["effect_before"]) for one in found.to_dicts()]
    assert gaps == sorted(gaps, reverse=True)


def test_rows_that_came_or_went_or_got_another_label_are_told():
    before, after = {"q1": {"a": -1.0, "b": -2.0}}, {"q1": {"c": -3.0, "d": -4.0}}
    old = tables(before, "abd", label=lambda row: "x")
    new = tables(after, "bcd", label=lambda row: "y" if row == "d" else "x")
    told = {row["id"]: row for row in changes(old, new, 2).to_dicts()}
    assert (told["a"]["gone"], told["a"]["new"], told["a"]["label"]) == (True, False, "x")
    assert (told["b"]["gone"], told["b"]["new"]) == (False, False)
    assert (told["c"]["new"], told["c"]["relabelled"]) == (True, False)
    assert (told["d"]["relabelled"], told["d"]["label"]) == (True, "y")


def test_a_slice_of_the_queries():
    one = tables({"q1": {"a": -1.0}}, IDS)
    assert changes(tables({"q1": {}}, IDS), one.slice("group_side", "north"), 5).height == 1
    assert changes(tables({"q1": {}}, IDS), one.slice("group_side", "south"), 5).is_empty()
