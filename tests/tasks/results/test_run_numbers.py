"""Numbers of runs in their list, from handmade runs and detections; truths by hand."""

from dataclasses import replace

import polars as pl
import pytest
from handmade_runs import Row, open_store, write_detection, write_run

from tasks.results.run_numbers import read_run_numbers
from tasks.terminal.runs import render_runs


def make_rows(prefix, right, wrong, **groups):
    return [
        Row(f"{prefix}{i}", f"{prefix} text {i}", correct=i < right, groups=groups)
        for i in range(right + wrong)
    ]


def read(store, notes=None):
    return read_run_numbers(store, store.list_runs(), (notes if notes is not None else []).append)


def test_numbers_of_a_run_are_those_of_its_rows(tmp_path):
    """Slice c has 9 queries. Upper bounds at 1 - 0.05 / 3: b 0.655, d 0.659, so b is the worst."""
    store, train = open_store(tmp_path), make_rows("t", 3, 0)
    queries = [
        *make_rows("a", 19, 1, kind="a"),
        *make_rows("b", 8, 12, kind="b"),
        *make_rows("c", 0, 9, kind="c"),
        *make_rows("d", 3, 7, kind="d"),
    ]
    entries = [
        {"at": at, "share": share, "low": 0.5, "high": 1.0, "queries": 40, **more}
        for at, share, more in ((10, 0.97, {}), (100, 0.91, {}), (10, 0.2, {"label": "a"}))
    ]
    write_run(store, "one", train, queries, recall=entries)
    numbers = read(store)["one"]
    assert numbers.accuracy == 30 / 59
    assert (numbers.worst.value, numbers.worst.accuracy) == ("b", 0.4)
    assert numbers.worst.high == pytest.approx(0.6546, abs=1e-4)
    assert (numbers.recall, numbers.is_full_scan, numbers.labels.brief) == (0.91, False, "-")


def count(wrong):
    """Facts of a detection that counted wrong labels among ten rows."""
    errors = {"expected": wrong, "low": 0, "high": 10, "counted": 10, "verdicts": 40}
    return {"counted_by": "random sample", "errors": errors, "drawn": {"rows": 40, "enough": True}}


def test_wrong_labels_are_of_the_newest_detection_among_exactly_these_rows(tmp_path):
    store, train = open_store(tmp_path), make_rows("t", 5, 0)
    write_run(store, "one", train, make_rows("q", 3, 1))
    others = [*train[:4], Row("t4", "another text")]
    write_detection(store, train, [0.9] * 5, 1, **count(1))
    write_detection(store, train, [0.9, 0.5, 0.49, None, 0.5], 2, reviewed=[4], **count(2))
    write_detection(store, others, [0.9] * 5, 3, **count(3))
    assert read(store)["one"].labels.brief == "20.0%"
    write_detection(store, train, [0.9] * 5, 4)
    assert read(store)["one"].labels.brief == "not counted"


def test_a_detection_of_an_earlier_version_has_no_annotations(tmp_path):
    store, train = open_store(tmp_path), make_rows("t", 2, 0)
    write_run(store, "one", train, make_rows("q", 1, 0))
    table = pl.DataFrame(
        {"id": ["t0", "t1"], "text": ["t text 0", "t text 1"], "label": ["a", "a"],
         "probability": [0.5, 0.001]}
    )  # fmt: skip

    def write(folder):
        table.write_parquet(folder / "mislabels.parquet")
        (folder / "facts.json").write_text('{"rows": 2}')

    store.write_artifact("mislabels", "a" * 64, write)
    assert read(store)["one"].labels.brief == "not counted"


def test_a_damaged_detection_or_table_hides_no_other_run(tmp_path):
    store, train = open_store(tmp_path), make_rows("t", 2, 0)
    for name in ("one", "two"):
        write_run(store, name, train, make_rows("q", 1, 1))
    folder = write_detection(store, train, [0.5, 0.5])
    assert [read(store)[name].labels.is_searched for name in ("one", "two")] == [True, True]
    (folder / "facts.json").write_text("{}")
    notes = []
    assert not read(store, notes)["one"].labels.is_searched
    assert "a detection is damaged" in notes[0]
    (path,) = (tmp_path / "store" / "tables" / "queries").glob("run=one/*/*.parquet")
    path.write_bytes(b"\0" * path.stat().st_size)
    notes.clear()
    assert set(read(store, notes)) == {"two"}
    assert notes[1].startswith("Run one cannot be read")


@pytest.fixture
def lines(tmp_path):
    """Lines of two runs at a width: one with groups and many rows, one without."""
    store = open_store(tmp_path)
    queries = make_rows("q", 600, 300, kind="a long name of a region with many words")
    write_run(store, "by-hand-0123456789", make_rows("t", 1200, 0), queries, effects={})
    write_run(store, "by-hand-9876543210", make_rows("t", 2, 0), make_rows("q", 1, 1))
    return lambda width: render_runs(store.list_runs(), read(store), width)


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (200, []),
        (104, ["training rows", "opened"]),
        (103, ["training rows", "opened", "shards"]),
        (80, ["training rows", "opened", "shards", "recall", "wrong labels"]),
        (60, ["training rows", "opened", "shards", "recall", "wrong labels", "worst slice"]),
        (10, ["worst slice", "accuracy"]),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_whole_names(lines, width, missing):
    """Cells of all columns but the last two: 18 + 8 + 6 + 12 + 30 + 6 + 12, and six gaps of 2."""
    head, *rows = lines(width)
    names = (
        "training rows",
        "opened",
        "shards",
        "recall",
        "wrong labels",
        "worst slice",
        "accuracy",
    )
    assert [name for name in names if name not in head] == (missing if width > 10 else [*names])
    assert [row.split()[0] for row in rows] == ["by-hand-9876543210", "by-hand-0123456789"]
    assert all(len(row) <= max(width, 28) for row in (head, *rows))
    if width == 200:
        assert "66.7% of 900  a long name of a region… 66.7%  -" in rows[1]
        assert "  1,200  " in rows[1]
        assert "50.0% of 2    -" in rows[0]


def test_a_full_scan_misses_no_row(tmp_path):
    store = open_store(tmp_path)
    write_run(store, "one", make_rows("t", 2, 0), make_rows("q", 1, 1))
    numbers = replace(read(store)["one"], is_full_scan=True)
    line = render_runs(store.list_runs(), {"one": numbers}, 200)[1]
    assert line.split()[:9] == ["one", "finished", "1/1", "50.0%", "of", "2", "-", "all", "-"]
