"""Reading of targets: lists, columns, numbers and weights in every form that a table has."""

import math
from pathlib import Path

import polars as pl
import pytest

from tasks.data.dataset import read_table
from tasks.data.target_text import format_target
from tasks.study.errors import StudyError
from tasks.study.sections import QuerySource, TrainSource

LABELS = ["a", "b, c", "d"]
YES = [1, 0, 1]


def _read(folder: Path, frame: pl.DataFrame, kind: str, names=LABELS, role="train", **keys):
    suffix = keys.pop("suffix", "parquet")
    path = folder / f"rows.{suffix}"
    frame = frame.with_columns(text=pl.Series([f"text {i}" for i in range(len(frame))]))
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[suffix](
        path
    )
    source = {"train": TrainSource, "queries": QuerySource}[role]
    section = source.model_validate({"table": path.name, "text": "text", **keys})
    return read_table(section, names, folder, role, kind=kind)


LISTS = [["a", "d"], [], ["b, c"]]
EXPECTED = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)]


@pytest.mark.parametrize(
    ("cells", "suffix"),
    [
        (pl.Series(LISTS, dtype=pl.List(pl.String)), "parquet"),
        (pl.Series(LISTS, dtype=pl.List(pl.String)), "jsonl"),
        (pl.Series(['["a", "d"]', "[]", '["b, c"]']), "csv"),
        (pl.Series(['["d", "a"]', " [] ", '["b, c", "b, c"]']), "parquet"),
    ],
)
def test_lists_of_labels(tmp_path, cells, suffix):
    table = _read(tmp_path, pl.DataFrame({"y": cells}), "multi-label", label="y", suffix=suffix)
    assert list(table.targets) == EXPECTED
    assert table.name_targets(LABELS) == ["a | d", "(none)", "b, c"]


@pytest.mark.parametrize(("separator", "cell"), [("|", "a|d"), (";", "d; a"), ("|", "a | d")])
def test_labels_of_a_text_are_separated_by_the_first_that_fits(tmp_path, separator, cell):
    frame = pl.DataFrame({"y": [cell, "b, c", "a"]})
    table = _read(tmp_path, frame, "multi-label", label="y", suffix="csv")
    assert list(table.targets) == [EXPECTED[0], EXPECTED[2], (1.0, 0.0, 0.0)]
    assert any(f'separated by "{separator}"' in note for note in table.notes)


def test_a_row_without_labels_may_stand_among_separated_names(tmp_path):
    frame = pl.DataFrame({"y": ["a|d", "[]", "b, c"]})
    table = _read(tmp_path, frame, "multi-label", label="y", suffix="csv")
    assert list(table.targets) == EXPECTED


@pytest.mark.parametrize(
    "cells",
    [
        [1, 0, 1],
        [True, False, True],
        [1.0, 0.0, 1.0],
        ["1", "0", "1"],
        ["yes", "no", "Yes"],
        ["True", "false", " true "],
    ],
)
def test_columns_of_zeros_and_ones(tmp_path, cells):
    frame = pl.DataFrame({"x": cells, "y": cells, "z": cells})
    table = _read(tmp_path, frame, "multi-label", ["x", "y", "z"], labels=["x", "y", "z"])
    assert list(table.targets) == [(1.0,) * 3, (0.0,) * 3, (1.0,) * 3]


def test_numbers_of_every_type(tmp_path):
    for cells in ([1, 2, 3], [1.5, 2.5, -3.0], ["1.5", " 2 ", "3e2"], [True, False, True]):
        table = _read(tmp_path, pl.DataFrame({"y": cells}), "number", ["y"], label="y")
        expected = [float(str(c)) if isinstance(c, str) else float(c) for c in cells]
        assert list(table.targets) == expected
        assert [float(name) for name in table.name_targets(["y"])] == expected


@pytest.mark.parametrize(("offset", "is_told"), [(0.0, False), (1.6e9, True)])
def test_numbers_that_single_precision_rounds_are_told(tmp_path, offset, is_told):
    frame = pl.DataFrame({"y": [offset + 1.0, offset + 2.0, offset + 90.0]})
    table = _read(tmp_path, frame, "number", ["y"], label="y")
    assert any("single precision rounds" in note for note in table.notes) == is_told


def test_numbers_with_a_decimal_comma(tmp_path):
    (tmp_path / "rows.csv").write_text("text;y\none;1,5\ntwo;-2,25\n")
    source = TrainSource.model_validate({"table": "rows.csv", "text": "text", "label": "y"})
    assert list(read_table(source, ["y"], tmp_path, "train", kind="number").targets) == [1.5, -2.25]


def test_weights_with_a_decimal_comma(tmp_path):
    (tmp_path / "rows.csv").write_text("text;y;w\none;a;1,5\ntwo;b;0,25\n")
    keys = {"table": "rows.csv", "text": "text", "label": "y", "weight": "w"}
    table = read_table(TrainSource.model_validate(keys), ["a", "b"], tmp_path, "train")
    assert table.weights == [1.5, 0.25]


def test_lists_of_numbers_and_probabilities(tmp_path):
    frame = pl.DataFrame({"y": [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]})
    assert list(_read(tmp_path, frame, "soft-label", label="y").targets) == [
        (0.25, 0.75, 0.0),
        (1.0, 0.0, 0.0),
    ]
    assert _read(tmp_path, frame, "number", label="y").targets[0] == (0.25, 0.75, 0.0)


@pytest.mark.parametrize(
    ("kind", "cells", "words"),
    [
        ("multi-label", ["a", "e", "a|d"], ['"e"', "row 2"]),
        ("multi-label", ["a", None, "d"], ["row 2", "[] for no labels"]),
        ("multi-label", ["[a", "d", "a"], ['"[a"', "row 1"]),
        ("number", [1.0, math.nan, 2.0], ["row 2", "a target in every row"]),
        ("number", [1.0, math.inf, 2.0], ["row 2", "finite numbers"]),
        ("number", ["1.5", "two", "3"], ["row 2", '"two"']),
        ("soft-label", [[0.5, 0.4, 0.2], [1.0, 0.0, 0.0]], ["row 1", "sum is 1"]),
        ("soft-label", [[-0.5, 1.5, 0.0], [1.0, 0.0, 0.0]], ["row 1", "0 or more"]),
        ("soft-label", [[0.5, 0.5], [1.0, 0.0]], ["lists of 3 numbers"]),
    ],
)
def test_cells_that_cannot_be_read_are_refused_with_their_rows(tmp_path, kind, cells, words):
    labels = ["y"] if kind == "number" else ["a", "b", "d"]
    with pytest.raises(StudyError) as error:
        _read(tmp_path, pl.DataFrame({"y": cells}, strict=False), kind, labels, label="y")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_row_with_some_of_its_labels_is_refused(tmp_path):
    frame = pl.DataFrame({"x": [1, None], "y": [0, 1]})
    with pytest.raises(StudyError, match="row 2"):
        _read(tmp_path, frame, "multi-label", ["x", "y"], labels=["x", "y"])


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, None], [0.0, 0.0], [1.0, math.inf]])
def test_weights_that_are_none_are_refused(tmp_path, weights):
    frame = pl.DataFrame({"y": ["a", "d"], "w": weights})
    with pytest.raises(StudyError, match="finite weights of 0 or more"):
        _read(tmp_path, frame, "class", label="y", weight="w")


def test_weights_and_targets_are_in_the_digest(tmp_path):
    frame = pl.DataFrame({"y": ["a", "d"], "w": [1.0, 2.0], "v": [1.0, 3.0]})
    tables = [_read(tmp_path, frame, "class", label="y", weight=name) for name in ("w", "v")]
    plain = _read(tmp_path, frame, "class", label="y")
    assert len({table.digest for table in (*tables, plain)}) == 3
    assert tables[0].take([1]).weights == [2.0]


def test_only_queries_may_lack_targets(tmp_path):
    frame = pl.DataFrame({"y": ["a", None]})
    table = _read(tmp_path, frame, "multi-label", ["a", "d"], "queries", label="y")
    assert list(table.given_labels) == [(1.0, 0.0), None]
    assert table.name_targets(["a", "d"]) == ["a", None]
    assert _read(tmp_path, frame, "multi-label", ["a", "d"], "queries").given_labels == [None, None]


def test_a_number_is_written_with_all_its_digits():
    value = 0.1 + 0.2
    assert float(format_target(value, "number", ["y"])) == value
