"""Groups of changed rows on handmade runs, by kind and source."""

import pytest
from handmade_runs import Row, open_store, write_run

from fastif import InputError
from storage.run_comparison import RunMatching, RunTables
from tasks.bisection.change_groups import describe_group, group_changes


def row(name, label="a", source="old", text=None, pair=None):
    return Row(name, text or f"text of {name}", label, pair=pair, groups={"source": source})


QUERIES = [Row("q0", "leaked text"), Row("q1", "another query")]


def grouped(folder, before, after, by=None, queries=QUERIES):
    store = open_store(folder)
    for name, train in (("one", before), ("two", after)):
        write_run(store, name, train, queries, effects={(0, 0): 0.1}, model=name)
    tables = [RunTables.scan(store, name) for name in ("one", "two")]
    return group_changes(*tables, RunMatching.match(*tables).train, by)


def test_a_night_with_all_kinds_of_changes(tmp_path):
    """Rows are added, removed, relabelled and edited at once; each belongs to one group."""
    before = [row(f"r{i}", "ab"[i % 2], "north" if i < 6 else "south") for i in range(12)]
    after = [row(f"r{i}", "ab"[i % 2], "north" if i < 6 else "south") for i in range(3, 12)]
    after[0].label = "c"  # r3, b before
    after[1].label = "c"  # r4, a before
    after[2].label = "c"  # r5, b before
    after[8].label = "a"  # r11, b before
    after[7].text = "an edited text"  # r10
    after += [row("n0", source="day", text="leaked text"), row("n1", source="day"), row("n2")]
    after.append(row("n3", source="day", text="text of r7"))
    groups = {describe_group(group): group for group in grouped(tmp_path, before, after)}
    assert list(groups) == [
        "added, source day", "added, source old", "removed, source north",
        "relabelled, source north", "relabelled, source south", "edited, source south",
    ]  # fmt: skip
    day = groups["added, source day"]
    assert (day.before, day.after) == ((), (9, 10, 12))
    assert (day.leaks, day.copies, day.rows) == (1, 1, 3)
    assert groups["removed, source north"].before == (0, 1, 2)
    north = groups["relabelled, source north"]
    assert north.moves == (("b", "c", 2), ("a", "c", 1))
    assert (north.before, north.after) == ((3, 4, 5), (0, 1, 2))
    edited = groups["edited, source south"]
    assert (edited.before, edited.after) == ((10,), (7,))
    positions = [place for group in groups.values() for place in group.after]
    assert len(positions) == len(set(positions)) == 9


def test_without_a_group_column_relabelled_rows_are_grouped_by_their_labels(tmp_path):
    before = [Row(f"r{i}", f"text {i}", "ab"[i % 2]) for i in range(6)]
    after = [Row(f"r{i}", f"text {i}", "ab"[i % 2]) for i in range(6)]
    after[0].label, after[2].label, after[1].label = "b", "b", "c"
    after.append(Row("new", "a new text"))
    groups = grouped(tmp_path, before, after)
    assert [(describe_group(group), group.rows) for group in groups] == [
        ("added", 1), ("relabelled, a → b", 2), ("relabelled, b → c", 1),
    ]  # fmt: skip


def test_a_source_is_that_of_the_later_run_and_may_be_missing(tmp_path):
    before = [row("r0", source="north"), row("r1", "b"), row("r2")]
    after = [row("r0", "b", source="south"), row("r1", "b"), row("r2"), row("n", source=None)]
    groups = grouped(tmp_path, before, after)
    assert list(map(describe_group, groups)) == [
        "added, source (no value)",
        "relabelled, source south",
    ]


def test_equal_tables_have_no_groups_and_an_unknown_column_is_refused(tmp_path):
    rows = [row("r0"), row("r1", "b")]
    assert grouped(tmp_path, rows, rows) == []
    with pytest.raises(InputError, match="a group column of the training rows: source"):
        grouped(tmp_path / "other", rows, rows, by="batch")


def test_a_renamed_label_is_no_change(tmp_path):
    before = [row(f"r{i}", "ab"[i % 2]) for i in range(6)]
    after = [row(f"r{i}", "xb"[i % 2]) for i in range(6)]
    assert grouped(tmp_path, before, after) == []
