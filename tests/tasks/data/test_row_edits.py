"""Edits of text tables, compared with tables that other libraries write and read."""

import csv
import io
import json
import random

import polars as pl
import pytest

from fastif import InputError
from tasks.data.csv_edits import edit_csv, read_cells
from tasks.data.decoded_text import decode_file
from tasks.data.json_edits import edit_json, edit_json_lines
from tasks.data.row_edits import RowEdits, choose_cells

CELLS = ["", "a", 'say "no"', "x,y", "x;y", "two\nlines", " pad ", "é€", "'q", "7", "a\r\nb"]


def draw_edits(draw, rows: int, values) -> RowEdits:
    cells = {i: draw.choice(values) for i in range(rows) if draw.random() < 0.4}
    dropped = {i for i in range(rows) if draw.random() < 0.3}
    return RowEdits("label", {i: cell for i, cell in cells.items() if i not in dropped}, dropped)


def test_random_csv_tables_are_read_as_edited():
    draw = random.Random(3)
    for _ in range(400):
        separator, end = draw.choice(",;\t|"), draw.choice(["\n", "\r\n"])
        names = ["text", "label", "other"]
        draw.shuffle(names)
        rows = [[draw.choice(CELLS) for _ in names] for _ in range(draw.randint(1, 6))]
        file = io.StringIO(newline="")
        quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting).writerows(
            [names, *rows]
        )
        text, place = file.getvalue(), names.index("label")
        numbers = list(range(1, len(rows) + 1))
        labels = [row[place] for row in rows]
        assert read_cells(text, separator, numbers, "label") == labels
        edits = draw_edits(draw, len(rows), CELLS)
        edited = edit_csv(text, separator, numbers, edits)
        expected = [
            [*row[:place], edits.cells.get(i, row[place]), *row[place + 1 :]]
            for i, row in enumerate(rows)
            if i not in edits.dropped
        ]
        read = csv.reader(io.StringIO(edited, newline=""), delimiter=separator)
        assert list(read) == [names, *expected], (text, edits)
        assert edit_csv(text, separator, numbers, RowEdits("label", {})) == text


def test_a_record_that_is_not_what_was_read_is_refused():
    with pytest.raises(ValueError, match="have no line"):
        edit_csv("label\na\n", ",", [1, 2], RowEdits("label", {}))
    # Quotes within a cell, at which readers differ.
    with pytest.raises(ValueError, match="another cell"):
        edit_csv('x,label\n"a"b",c",d\n', ",", [1], RowEdits("label", {0: "e"}))


def draw_value(draw, depth: int = 2):
    kinds = [None, True, 3, -1.5e-7, 2**60, "", 'a "b" {c}, [d]', "\u2028é\n", "\\"]
    if depth and draw.random() < 0.4:
        return draw.choice([
            [draw_value(draw, depth - 1) for _ in range(draw.randint(0, 3))],
            {name: draw_value(draw, depth - 1) for name in ("x", "label")},
        ])  # fmt: skip
    return draw.choice(kinds)


def test_random_json_tables_are_read_as_edited():
    draw = random.Random(4)
    for _ in range(400):
        rows = []
        for _ in range(draw.randint(1, 5)):
            items = [("label", draw_value(draw)), ("é", draw_value(draw)), ("z", draw_value(draw))]
            draw.shuffle(items)
            rows.append(dict(items))
        edits = draw_edits(draw, len(rows), [1, "new", True, 2.5, "ü"])
        if len(edits.dropped) == len(rows):
            continue
        expected = [
            {**row, "label": edits.cells.get(i, row["label"])}
            for i, row in enumerate(rows)
            if i not in edits.dropped
        ]
        is_ascii, indent = draw.random() < 0.5, draw.choice([None, 0, 3])
        array = json.dumps(rows, ensure_ascii=is_ascii, indent=indent)
        assert json.loads(edit_json(array, edits)) == expected
        assert edit_json(array, RowEdits("label", {})) == array
        lines = "\n".join(json.dumps(row, ensure_ascii=is_ascii) for row in rows)
        edited = edit_json_lines(lines, edits)
        assert [json.loads(line) for line in edited.split("\n") if line] == expected
        assert edited.isascii() or not lines.isascii()


def test_characters_are_escaped_as_in_the_row():
    edits = RowEdits("a", {0: "ü"})
    assert edit_json_lines('{"a": 1, "b": "é"}', edits) == '{"a": "ü", "b": "é"}'
    assert edit_json_lines('{"a": 1, "b": "e"}', edits) == '{"a": "\\u00fc", "b": "e"}'


def test_nested_keys_and_names_in_another_unicode_form():
    text = '{"m": {"n": {"label": 1}}, "e\\u0301": 2}'
    assert json.loads(edit_json_lines(text, RowEdits("m.n.label", {0: 5})))["m"] == {
        "n": {"label": 5}
    }
    assert json.loads(edit_json_lines(text, RowEdits("é", {0: 5})))["e\u0301"] == 5
    with pytest.raises(ValueError, match="without the key"):
        edit_json_lines(text, RowEdits("other", {0: 5}))


def test_cells_are_chosen_as_the_table_writes_them():
    cells = pl.Series("label", ["1.0", "1", "1", "0"])
    assert choose_cells(cells, ["1", "1", "1", "0"], {"1", "2"}) == {"1": "1", "2": "2"}
    assert choose_cells(pl.Series([True]), ["true"], {"false"}) == {"false": False}
    with pytest.raises(InputError, match="Int8"):
        choose_cells(pl.Series("label", [1], pl.Int8), ["1"], {"300"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_texts_are_encoded_as_they_were(encoding):
    data = "é,\r\nü".encode(encoding)
    decoded = decode_file(data, encoding)
    assert decoded.text == "é,\r\nü"
    assert decoded.encode(decoded.text) == data
