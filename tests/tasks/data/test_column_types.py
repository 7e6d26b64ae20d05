"""Labels, ids and groups of any type that has an exact text; nested columns by dotted names."""

import datetime
import unicodedata
import uuid
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.data.table_files import (
    ROWS,
    make_source,
    read,
    refusal,
    single_problem,
)

DAYS = [datetime.date(2026, 1, day) for day in (1, 2, 3, 4)]
TIMES = [datetime.datetime(2026, 1, day, 12, 30) for day in (1, 2, 3, 4)]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "arrow", "json"])
@pytest.mark.parametrize("labels", [("0", "1"), ("0.0", "1.0")])
def test_whole_floats_are_labels_in_either_spelling(tmp_path, suffix, labels):
    save_any(tmp_path, suffix, ROWS | {"label": [1.0, 0.0, 0.0, 1.0]})
    assert read(make_source(f"rows.{suffix}"), tmp_path, labels).labels == [1, 0, 0, 1]


def save_any(folder, suffix: str, columns: dict) -> None:
    frame = pl.DataFrame(columns)
    writers = {
        "parquet": frame.write_parquet,
        "jsonl": frame.write_ndjson,
        "arrow": frame.write_ipc,
        "json": frame.write_json,
        "csv": frame.write_csv,
    }
    writers[suffix](folder / f"rows.{suffix}")


@pytest.mark.parametrize("text", [["1.0", "0.0", "0.0", "1.0"], ["1,0", "0,0", "0", "1"]])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_text_of_whole_floats_is_a_label_too(tmp_path, suffix, text):
    save_any(tmp_path, suffix, ROWS | {"label": text})
    assert read(make_source(f"rows.{suffix}"), tmp_path, ["0", "1"]).labels == [1, 0, 0, 1]


def test_text_of_floats_that_is_a_name_stays_a_name(tmp_path):
    save_any(tmp_path, "csv", ROWS | {"label": ["1.0", "0.0", "0.0", "1.0"]})
    assert read(make_source("rows.csv"), tmp_path, ["1.0", "0.0"]).labels == [0, 1, 1, 0]


def test_a_gap_in_whole_floats_is_a_missing_label(tmp_path):
    save_any(tmp_path, "parquet", ROWS | {"label": [1.0, float("nan"), None, 1.0]})
    problem = single_problem(refusal(make_source("rows.parquet"), tmp_path, ["0", "1"]))
    assert problem.got == "null in rows 2, 3"


@pytest.mark.parametrize(
    ("column", "cells", "got"),
    [
        ("label", [0.5, 1.0, 1.0, 0.0], "Float64 with row 1: 0.5"),
        ("id", [1.0, 2.0, 2.0**53 + 2, 4.0], "row 3: 9007199254740994.0"),
        ("id", [1.0, 2.0, float("inf"), 4.0], "row 3: Infinity"),
    ],
)
def test_floats_that_are_not_exact_whole_numbers_are_refused(tmp_path, column, cells, got):
    save_any(tmp_path, "parquet", ROWS | {column: cells})
    problem = single_problem(refusal(make_source("rows.parquet"), tmp_path, ["0", "1"]))
    assert problem.where == f"column {column}"
    assert got in problem.got


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        ([3.0, 1.0, 2.0, 2.0**53], ["3", "1", "2", "9007199254740992"]),
        ([Decimal("3.00"), Decimal("1"), Decimal("2.0"), Decimal("10")], ["3", "1", "2", "10"]),
        (DAYS, ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]),
        ([2**63 + i for i in range(4)], [str(2**63 + i) for i in range(4)]),
    ],
    ids=["floats", "decimals", "dates", "large"],
)
def test_ids_of_types_with_an_exact_text(tmp_path, cells, ids):
    save_any(tmp_path, "parquet", ROWS | {"id": cells})
    assert read(make_source("rows.parquet"), tmp_path).ids == ids


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_uuids_are_read_as_their_text(tmp_path, suffix):
    values = [uuid.UUID(int=2**100 + i) for i in range(4)]
    column = pa.array([value.bytes for value in values], pa.uuid())
    table = pa.table(ROWS | {"id": column, "genre": column})
    if suffix == "parquet":
        pq.write_table(table, tmp_path / "rows.parquet")
    else:
        with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as file:
            file.write(table)
    rows = read(make_source(f"rows.{suffix}", groups=["genre"]), tmp_path)
    assert rows.ids == rows.groups["genre"] == list(map(str, values))


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_dates_and_flags_as_groups(tmp_path, suffix):
    groups = {"day": DAYS, "time": TIMES, "flag": [True, False, None, True]}
    save_any(tmp_path, suffix, ROWS | groups)
    table = read(make_source(f"rows.{suffix}", groups=list(groups)), tmp_path)
    assert table.groups["day"] == [day.isoformat() for day in DAYS]
    assert [time[:19] for time in table.groups["time"]] == [str(time) for time in TIMES]
    assert table.groups["flag"] == ["true", "false", None, "true"]


NESTED = ROWS | {"msg": [{"body": text, "meta": {"nr": i}} for i, text in enumerate(ROWS["text"])]}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "arrow", "json"])
def test_fields_of_nested_columns_by_dotted_names(tmp_path, suffix):
    save_any(tmp_path, suffix, NESTED)
    expected = read(make_source(f"rows.{suffix}"), tmp_path)
    table = read(make_source(f"rows.{suffix}", text="msg.body", id="msg.meta.nr"), tmp_path)
    assert (table.texts, table.ids) == (expected.texts, ["0", "1", "2", "3"])


def test_a_column_with_a_dot_in_its_name_comes_before_a_field(tmp_path):
    save_any(tmp_path, "parquet", NESTED | {"msg.body": ["w", "x", "y", "z"]})
    table = read(make_source("rows.parquet", text="msg.body"), tmp_path)
    assert table.texts == ["w", "x", "y", "z"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ('msg["body"]', 'write "msg.body"'),
        ("msg['meta'][\"nr\"]", 'write "msg.meta.nr"'),
        ('msg["bdoy"]', 'did you mean "msg.body"?'),
        ("msg.bdoy", 'did you mean "msg.body"?'),
        ("msg", '"msg.body"'),
    ],
)
def test_other_names_of_fields_are_refused_with_the_dotted_one(tmp_path, name, remedy):
    save_any(tmp_path, "parquet", NESTED)
    assert (
        remedy in single_problem(refusal(make_source("rows.parquet", text=name), tmp_path)).remedy
    )


def test_an_absent_second_text_is_an_empty_one(tmp_path):
    columns = {"p": ["a", "b", "c"], "h": ["d", None, ""], "label": ["neg", "pos", "neg"]}
    save_any(tmp_path, "parquet", columns)
    save_any(tmp_path, "csv", columns)
    keys = {"text": ["p", "h"], "id": None}
    table = read(make_source("rows.parquet", **keys), tmp_path)
    assert table.text_pairs == ["d", "", ""]
    assert read(make_source("rows.csv", **keys), tmp_path).digest == table.digest
    save_any(tmp_path, "parquet", columns | {"h": [None, None, None]})
    empty = read(make_source("rows.parquet", **keys), tmp_path)
    assert empty.text_pairs == ["", "", ""]
    assert "h, is empty in all rows" in empty.notes[0]
    assert "h, is empty in 2 rows: they are tokenized as pairs" in table.notes[0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_labels_are_alike_in_all_normal_forms(tmp_path, form):
    names = [unicodedata.normalize(form, name) for name in ("n\u00e9g", "pos")]
    save_any(tmp_path, "csv", ROWS | {"label": [names[1], names[0], names[0], names[1]]})
    for listed in ("NFC", "NFD"):
        labels = [unicodedata.normalize("NFC", unicodedata.normalize(listed, n)) for n in names]
        assert read(make_source("rows.csv"), tmp_path, labels).labels == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("label", "remedy"),
    [
        ("n\u0435g", "U+0435 CYRILLIC SMALL LETTER IE in place of U+0065"),
        ("\uff4e\uff45\uff47", 'did you mean "neg"? It has U+FF4E'),
        ("neg\u200b", "U+200B ZERO WIDTH SPACE in place of nothing"),
        ("\u0430", "It has U+0430 CYRILLIC SMALL LETTER A"),
    ],
)
def test_look_alike_labels_are_named_by_code_point(tmp_path, label, remedy):
    save_any(tmp_path, "csv", ROWS | {"label": ["pos", "neg", label, "pos"]})
    assert remedy in single_problem(refusal(make_source("rows.csv"), tmp_path)).remedy
