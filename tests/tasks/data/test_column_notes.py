"""Decimal commas, copies of the label, ids among the features and groups of few rows."""

import polars as pl
import pytest

from tasks.data.announcements import collect_notes
from tasks.data.inputs import read_table_once
from tasks.data.preview import preview_table
from tasks.study.sections import TableSource
from tests.tasks.data.table_files import (
    ROWS,
    make_source,
    read,
    refusal,
    save_table,
    single_problem,
)

LABELS = ["pos", "neg"] * 15


def write_features(folder, columns: dict, separator: str = ";", **keys) -> TableSource:
    """Write features and labels to a text table; return its section."""
    rows = len(next(iter(columns.values())))
    frame = pl.DataFrame(columns | {"y": LABELS[:rows]})
    frame.write_csv(folder / "rows.csv", separator=separator)
    return TableSource(table="rows.csv", features=tuple(columns), label="y", **keys)


def read_features(folder, columns: dict, separator: str = ";", **keys):
    return read(write_features(folder, columns, separator, **keys), folder)


def test_a_decimal_comma_is_detected_and_reported(tmp_path):
    table = read_features(tmp_path, {"a": ["1,5", "2,25", "", "-3"], "b": ["1", "2", "3", "4"]})
    assert table.measurements.numbers[:2].tolist() == [[1.5, 1], [2.25, 2]]
    assert 'detected separator = ";", decimal = ","' in table.notes[0]
    assert preview_table(tmp_path / "rows.csv").detected == {"separator": ";", "decimal": ","}
    known = read_features(tmp_path, {"a": ["1,5", "2,25", "", "-3"]}, separator=";", decimal=",")
    assert known.measurements.numbers[0].tolist() == [1.5]
    assert "decimal =" not in known.notes[0]


def test_a_decimal_comma_beside_separating_commas_is_read_only_if_it_is_set(tmp_path):
    cells = {"a": ["1,5", "2,25", "3,1", "4,0"]}
    table = read_features(tmp_path, cells, ",")
    assert table.measurements.categories == [cells["a"]]
    assert 'set decimal = ","' in table.measurements.notes[0]
    table = read_features(tmp_path, cells, ",", decimal=",")
    assert table.measurements.numbers[:, 0].tolist() == [1.5, 2.25, 3.1, 4.0]


@pytest.mark.parametrize(
    ("columns", "keys", "got"),
    [
        ({"a": ["1,234", "5,678", "9"]}, {}, '"1,234" in column a, which may mean thousands'),
        ({"a": ["1.234", "5.678", "9"]}, {}, '"1.234" in column a, which may mean thousands'),
        ({"a": ["1,5", "2,5"], "b": ["1.5", "2"]}, {}, "commas in column a, points in column b"),
        ({"a": ["1.5", "2"]}, {"decimal": ","}, "decimal points in column a"),
    ],
)
def test_an_unclear_decimal_mark_is_refused(tmp_path, columns, keys, got):
    problem = single_problem(refusal(write_features(tmp_path, columns, **keys), tmp_path))
    assert (problem.where, problem.got) == ("[train] decimal", got)


def test_a_set_point_keeps_commas_as_categories(tmp_path):
    table = read_features(tmp_path, {"a": ["1,234", "5,678", "9"]}, decimal=".")
    assert table.measurements.categories == [["1,234", "5,678", "9"]]


def test_a_feature_that_gives_the_label_away_is_reported(tmp_path):
    codes = [{"pos": "1", "neg": "0"}[label] for label in LABELS]
    columns = {"copy": LABELS, "code": codes, "fair": ["x", "y", "z"] * 10}
    notes = read_features(tmp_path, columns).measurements.notes
    assert [note.partition(" ")[0] for note in notes if "gives the label away" in note] == [
        "copy",
        "code",
    ]


def test_a_text_that_is_the_label_is_reported(tmp_path):
    save_table(tmp_path, "csv", ROWS | {"text": ROWS["label"]})
    assert "text equals the label" in read(make_source("rows.csv"), tmp_path).notes[0]
    save_table(tmp_path, "csv", ROWS)
    assert read(make_source("rows.csv"), tmp_path).notes == ()


def test_ids_among_the_features_are_reported(tmp_path):
    columns = {
        "key": [f"k{i}" for i in range(30)],
        "nr": list(range(5, 35)),
        "size": [i**2 for i in range(30)],
    }
    notes = read_features(tmp_path, columns).measurements.notes
    assert [note.partition(" ")[0] for note in notes if "as an id" in note] == ["key", "nr"]


def test_groups_of_few_rows_are_reported(tmp_path):
    columns = {
        "text": ["a"] * 30,
        "label": LABELS,
        "day": [f"2026-01-{i + 1:02}" for i in range(30)],
        "source": ["a", "b"] * 15,
    }
    pl.DataFrame(columns).write_csv(tmp_path / "rows.csv")
    (note,) = read(make_source("rows.csv", id=None, groups=["day", "source"]), tmp_path).notes
    assert "group day has 30 values, 1.0 rows each" in note


def test_points_are_decimal_if_one_of_them_cannot_mean_thousands(tmp_path):
    cells = {"a": ["1.234", "5.678"], "b": ["1.5", "2.25"]}
    assert read_features(tmp_path, cells).measurements.numbers[0].tolist() == [1.234, 1.5]
    cells = {"a": ["1.234", "5.678"]}
    for keys in ({"separator": ","}, {"decimal": "."}):
        table = read_features(tmp_path, cells, **keys)
        assert table.measurements.numbers[:, 0].tolist() == [1.234, 5.678]
        assert not [note for note in table.notes if "thousands" in note]


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["1.234,50", "2.000,10", "99,90", "3.100,00"], 'not as numbers, since it contains "1.234'),
        (["1 234,5", "2 000,1", "3 100,0", "x"], 'not as numbers, since it contains "1 234,5"'),
        (["1\u202f234", "2\u202f000", "3\u202f100", "4"], "not as numbers, since it contains"),
        (["1'234.5", "2'000.1", "3'100.0", "1"], 'not as numbers, since it contains "1\'234.5"'),
        (["1,234.5", "2,000.1", "3,100.0", "1"], 'not as numbers, since it contains "1,234.5"'),
        (["1,234", "2,000", "3,100", "999"], 'since it contains "1,234", which may mean thousands'),
        (["12 %", "7 %", "12 %", "8 %"], 'not as numbers, since it contains "12 %"'),
        (["€ 5", "€ 7.5", "€ 5", "€ 6"], 'not as numbers, since it contains "€ 5"'),
        (["\u22125", "\u22126.5", "7", "8"], 'not as numbers, since it contains "\u22125"'),
        (["1.5", "1,5", "2.5", "2,5"], "contains decimal points and decimal commas"),
        (["01234", "56789", "98765", "10115"], 'among them "01234": codes'),
        (["1.234", "950", "2.500", "87"], '"1.234" is 1.234, no thousands'),
        (["1.234", "5.678", "2.500", "8.125"], ""),
        (["1.234", "95", "2.5", "87"], ""),
        (["10.0.0.1", "10.0.0.2", "10.1.0.3", "10.0.4.4"], ""),
        (["a1", "b2", "c3", "d4"], ""),
        (["12:30", "13:45", "12:00", "9:15"], ""),
    ],
)
def test_features_that_may_be_meant_otherwise_are_noted_for_every_command(tmp_path, cells, note):
    table = read_features(tmp_path, {"a": cells}, ",")
    notes = [n for n in table.notes if n.startswith(f"[train] {tmp_path / 'rows.csv'}: a ")]
    assert [note in n for n in notes] == [True] * bool(note)


def test_text_of_a_parquet_file_is_no_decimal_comma(tmp_path):
    save_table(tmp_path, "parquet", {"a": ["1.5", "2.5", "3.5", "4.5"], "y": LABELS[:4]})
    source = TableSource(table="rows.parquet", features=("a",), label="y")
    (note,) = read(source, tmp_path).notes
    assert "a is read as 4 categories, not as numbers, since it is text in the file" in note


def test_notes_are_printed_once_or_collected(tmp_path, capsys):
    write_features(tmp_path, {"a": ["1,5", "2,25", "", "-3"]})
    source = TableSource(table="rows.csv", features=("a",), label="y")
    for _ in range(2):
        read_table_once(source, ["neg", "pos"], tmp_path, "train")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f'[train] {tmp_path}/rows.csv: detected separator = ";", decimal = ","'
    with collect_notes() as notes:
        read_table_once(source, ["neg", "pos"], tmp_path, "train")
    assert (notes, capsys.readouterr().err) == ([line], "")


def test_names_of_columns_in_notes_have_no_control_characters(tmp_path):
    columns = {"t\x1b[2J": ["a"] * 30, "label": LABELS, "id\x1b": list(range(30))}
    pl.DataFrame(columns).write_csv(tmp_path / "rows.csv")
    source = make_source("rows.csv", text="t\x1b[2J", id=None, groups=["id\x1b"])
    (note,) = read(source, tmp_path).notes
    assert "\x1b" not in note
    assert "\\u001b" in note
