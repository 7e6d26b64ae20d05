"""Row matching against known truth: the second table is made from the first."""

import random
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import StoreError
from storage.matching import EDITED, RELABELLED, SAME, match_rows
from storage.run_comparison import RunTables, find_changes


def table(rows, ids=None, key="train"):
    """A table of (text, label) rows; without ids they are numbered from 1."""
    names = ids or [f"{i + 1}" for i in range(len(rows))]
    columns = {key: range(len(rows)), "id": names}
    columns |= {"text": [text for text, _ in rows], "text_pair": [None] * len(rows)}
    columns["label"] = [label for _, label in rows]
    types = {"id": pl.String, "text": pl.String, "text_pair": pl.String, "label": pl.String}
    return pl.LazyFrame(columns, schema_overrides=types)


def pairs(before, after, key="train"):
    rows = match_rows(before, after, key).pairs.iter_rows()
    return {(old, new): how for old, new, how in rows}


ROWS = [(f"text {i}", "ab"[i % 2]) for i in range(20)]


@pytest.mark.parametrize("place", [0, 7, 20])
def test_an_inserted_row_does_not_shift_the_matching(place):
    later = [*ROWS[:place], ("another", "a"), *ROWS[place:]]
    expected = {(i, i + (i >= place)): SAME for i in range(20)}
    assert pairs(table(ROWS), table(later)) == expected


def test_reused_ids_are_not_matched():
    before = table(ROWS, [f"{i % 3}" for i in range(20)])
    after = table(ROWS[::-1], [f"{i % 5}" for i in range(20)])
    assert pairs(before, after) == {(i, 19 - i): SAME for i in range(20)}


def test_an_id_whose_content_changed_is_edited_and_a_label_relabelled():
    ids = [f"r{i}" for i in range(20)]
    later = [("new words", "a"), ("text 1", "a"), *ROWS[2:]]
    matching = match_rows(table(ROWS, ids), table(later, ids), "train")
    assert (matching.count(EDITED), matching.count(RELABELLED), matching.count(SAME)) == (1, 1, 18)
    assert (matching.new, matching.gone) == (0, 0)
    assert pairs(table(ROWS, ids), table(later, ids))[0, 0] == EDITED


def test_row_numbers_are_not_matched_once_rows_have_moved():
    """Row 1 is removed and two are inserted: id 1 is another row, not an edited one."""
    later = [("new", "a"), ("newer", "a"), *ROWS[1:]]
    matching = match_rows(table(ROWS), table(later), "train")
    assert (matching.count(EDITED), matching.new, matching.gone) == (0, 2, 1)


def test_a_renamed_label_is_not_a_relabelling():
    later = [(text, {"a": "alpha"}.get(label, label)) for text, label in ROWS]
    matching = match_rows(table(ROWS), table(later), "train")
    assert (matching.count(SAME), matching.renamed) == (20, {"a": "alpha"})
    swapped = [(text, {"a": "b", "b": "a"}[label]) for text, label in ROWS]
    assert match_rows(table(ROWS), table(swapped), "train").count(RELABELLED) == 20


LABELS = st.sampled_from(["a", "b", "null", "", "None"])
TEXTS = st.sampled_from(["x", "y", "", "None", "null", "\x00", "é", "e\u0301"])
TABLE = st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(TABLE, TABLE, st.integers(0, 999))
def test_equal_rows_are_matched_by_multiplicity(before, after, seed):
    """Compared with multiset counts; no label is removed, so none can be renamed."""
    every = [("end", label) for label in ("a", "b", "null", "", "None")]
    before, after = before + every, after + every
    random.Random(seed).shuffle(after)
    matching = match_rows(table(before), table(after), "train")
    assert matching.count(SAME) == (Counter(before) & Counter(after)).total()
    texts = Counter(text for text, _ in before) & Counter(text for text, _ in after)
    assert matching.count(SAME) + matching.count(RELABELLED) == texts.total()
    for old, new, how in matching.pairs.iter_rows():
        assert (how == SAME) == (before[old] == after[new])
        assert how == EDITED or before[old][0] == after[new][0]
    for side in ("before", "after"):
        assert matching.pairs[side].is_unique().all()


def make_run_tables(rows, ids=None, content=True, groups=()):
    """A run of one query with rows of (label, effect)."""
    train = table([(f"{label} {effect}", label) for label, effect in rows], ids)
    train = train.with_columns(pl.lit(name).alias(f"group_{name}") for name in groups)
    queries = table([("q", "a")], key="query").with_columns(correct=pl.lit(False))
    if not content:
        train, queries = (frame.drop("text", "text_pair") for frame in (train, queries))
    scores = {"query": [0] * len(rows), "train": range(len(rows))}
    return RunTables(
        pl.LazyFrame(scores | {"removal_effect": [effect for _, effect in rows]}), queries, train
    )


EFFECTS = [("ab"[i % 2], -0.01 * (7 * i % 20 + 1)) for i in range(20)]


def test_an_inserted_first_row_changes_nothing():
    assert find_changes(
        make_run_tables(EFFECTS), make_run_tables([("a", -0.0001), *EFFECTS]), 5
    ).is_empty()


def test_without_texts_row_numbers_are_refused_and_ids_accepted():
    with pytest.raises(StoreError, match="row numbers"):
        find_changes(
            make_run_tables(EFFECTS, content=False), make_run_tables(EFFECTS, content=False), 5
        )
    ids = [f"r{i}" for i in range(20)]
    again = make_run_tables(EFFECTS, [*ids[:-1], "r0"], content=False)
    with pytest.raises(StoreError, match="more than once"):
        find_changes(make_run_tables(EFFECTS, ids, content=False), again, 5)
    turned = make_run_tables(EFFECTS[::-1], ids[::-1], content=False)
    assert find_changes(make_run_tables(EFFECTS, ids, content=False), turned, 5).is_empty()


def test_group_columns_may_have_any_name_and_differ():
    before, after = (
        make_run_tables(EFFECTS, groups=["x"]),
        make_run_tables(EFFECTS[:-1], groups=["x_before", "id"]),
    )
    rows = find_changes(before, after, 20)
    assert rows.columns[-3:] == ["group_x_before", "group_id", "group_x"]
    (row,) = rows.to_dicts()
    assert (row["gone"], row["group_x"], row["group_id"]) == (True, "x", None)
