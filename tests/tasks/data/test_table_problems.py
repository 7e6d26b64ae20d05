"""An invalid table is refused with row, column and remedy."""

import pytest
from pydantic import ValidationError

from tests.tasks.data.table_files import (
    FORMATS,
    ROWS,
    make_source,
    refusal,
    save_table,
    single_problem,
)


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_file(tmp_path, suffix):
    save_table(tmp_path, suffix, ROWS, "train")
    problem = single_problem(refusal(make_source(f"trian.{suffix}"), tmp_path))
    assert (problem.where, problem.got) == ("[train] table", "no such file")
    assert f'did you mean "train.{suffix}"?' in problem.remedy
    assert "no folder" in single_problem(refusal(make_source(f"none/train.{suffix}"), tmp_path)).got
    (tmp_path / f"folder.{suffix}").mkdir()
    assert single_problem(refusal(make_source(f"folder.{suffix}"), tmp_path)).got == "a folder"


@pytest.mark.parametrize("name", ["rows.txt", "rows.dat", "rows.txt.gz", "rows"])
def test_unknown_suffix(tmp_path, name):
    (tmp_path / name).write_text("x")
    problem = single_problem(refusal(make_source(name), tmp_path))
    assert ".parquet, .csv, .jsonl" in problem.expected
    assert name in problem.got


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_table(tmp_path, suffix):
    (tmp_path / f"rows.{suffix}").touch()
    problem = single_problem(refusal(make_source(f"rows.{suffix}"), tmp_path))
    assert "0 bytes" in problem.got
    assert "rows" in problem.remedy


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_without_rows(tmp_path, suffix):
    save_table(tmp_path, suffix, {name: [] for name in ROWS})
    problem = single_problem(refusal(make_source(f"rows.{suffix}"), tmp_path))
    assert (problem.expected, problem.got) == ("1 or more rows", "an empty table")


def test_json_lines_that_are_blank(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    assert single_problem(refusal(make_source("rows.jsonl"), tmp_path)).got == "a file without rows"


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_columns(tmp_path, suffix):
    save_table(tmp_path, suffix, ROWS)
    source = make_source(f"rows.{suffix}", text="txet", id="nr", groups=["gener"])
    text, key, group = refusal(source, tmp_path).problems
    assert (text.where, text.expected) == ("[train] text", 'a column "txet"')
    assert "id, text, label, genre" in text.got
    assert 'did you mean "text"?' in text.remedy
    assert (key.where, key.remedy) == ("[train] id", "set id to one of these columns")
    assert (group.where, group.remedy) == ("[train] groups", 'did you mean "genre"?')


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("column", "bad", "got"),
    [
        ("text", None, "null in row 3"),
        ("text", "", "an empty text in row 3"),
        ("text", " \t\u00a0", "an empty text in row 3"),
        ("label", None, "null in row 3"),
        ("label", "possitive", 'row 3: "possitive"'),
        ("id", None, "null or empty in row 3"),
        ("id", "", "null or empty in row 3"),
        ("id", "a", 'duplicates in row 3: "a"'),
    ],
)
def test_a_bad_cell(tmp_path, suffix, column, bad, got):
    cells = list(ROWS[column])
    cells[2] = bad
    problem = single_problem(
        refusal(save_table(tmp_path, suffix, ROWS | {column: cells}), tmp_path)
    )
    assert problem.where == f"column {column}"
    assert got in problem.got


def test_the_first_text_of_a_pair_is_checked(tmp_path):
    save_table(tmp_path, "csv", {"p": ["a", ""], "h": ["", "b"], "label": ["neg", "pos"]})
    problem = single_problem(refusal(make_source("rows.csv", text=["p", "h"], id=None), tmp_path))
    assert (problem.where, problem.got) == ("column p", "an empty text in row 2")


def test_label_near_a_name_is_suggested(tmp_path):
    source = save_table(tmp_path, "csv", ROWS | {"label": ["pos", "Neg", "neg ", "pos"]})
    problem = single_problem(refusal(source, tmp_path))
    assert problem.expected == 'one of "neg", "pos"'
    assert problem.got == 'row 2: "Neg", row 3: "neg "'
    assert problem.remedy == 'did you mean "neg"?'


def test_a_table_whose_footer_points_beyond_its_end(tmp_path, capfd):
    """Polars panics on such a file."""
    many = {name: values * 500 for name, values in ROWS.items()}
    source = save_table(tmp_path, "parquet", {**many, "text": [f"{i**3}" for i in range(2000)]})
    path = tmp_path / "rows.parquet"
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(b"PAR1" + whole[-footer:])
    assert "beyond the file" in single_problem(refusal(source, tmp_path)).got
    assert "panicked" not in capfd.readouterr().err


def test_a_label_is_no_text(tmp_path):
    with pytest.raises(ValidationError, match="study"):
        make_source("rows.csv", text="label")


def test_at_most_five_rows_are_listed(tmp_path):
    rows = {"id": ["x"] * 9, "text": [""] * 9, "label": ["?"] * 9}
    text, label, key = refusal(save_table(tmp_path, "csv", rows), tmp_path).problems
    assert text.got == "an empty text in rows 1, 2, 3, 4, 5 and 4 more"
    assert label.got.startswith('row 1: "?", row 2: "?"')
    assert label.got.endswith(" and 4 more")
    assert "row 6" not in label.got
    assert key.got.endswith('row 6: "x" and 3 more')
    assert "row 1:" not in key.got


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("text", [1, 2, 3, 4], "text"),
        ("text", [["a"], ["b"], ["c"], ["d"]], "text"),
        ("label", [0.5, 1.0, 1.0, 0.0], "text or whole numbers"),
        ("id", [[1], [2], [3], [4]], "text or whole numbers"),
        ("genre", [[1], [2], [3], [4]], "text, numbers or dates"),
    ],
)
def test_columns_that_are_no_text(tmp_path, suffix, column, cells, expected):
    source = save_table(tmp_path, suffix, ROWS | {column: cells})
    problem = single_problem(refusal(source.model_copy(update={"groups": ("genre",)}), tmp_path))
    assert (problem.where, problem.expected) == (f"column {column}", expected)


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("rows.parquet", b"no parquet", "Parquet"),
        ("rows.csv", b"id,text,label\n1,a,pos\n2,b,neg,more\n", "row 2: 4 cells for 3 columns"),
        ("rows.csv", b"id,text,text,label\n1,a,b,pos\n", 'several columns named "text"'),
        ("rows.jsonl", b'{"id": "1", "text": ' + 9999 * b"[" + 9999 * b"]" + b"}", "too deeply"),
        ("rows.jsonl", b'{"text": "\\ud83d", "label": "pos"}', "line 1: a lone surrogate"),
        ("rows.jsonl", b'{"id": "1"}\n{"id": \n', "line 2, column"),
        ("rows.jsonl", b'{"id": "1"}\n[1, 2]\n', "line 2: not a JSON object"),
    ],
)
def test_files_with_invalid_content(tmp_path, name, content, got):
    (tmp_path / name).write_bytes(content)
    problem = single_problem(refusal(make_source(name), tmp_path))
    assert problem.where == "[train] table"
    assert got in problem.got
