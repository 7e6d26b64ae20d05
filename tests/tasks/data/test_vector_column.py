"""Long lists of numbers are kept as they are, and read by columns."""

import hashlib

import numpy as np
import polars as pl
import pytest

from tasks.data import joined_columns, vector_column
from tasks.data.vector_column import MIN_WIDTH, VectorColumn
from tests.tasks.data.test_tabular import read_rows, refusal, write_study


def make_table(values: np.ndarray, inner: type[pl.DataType]) -> pl.DataFrame:
    vectors = pl.Series("v", values.tolist(), dtype=pl.List(inner))
    return pl.DataFrame({"v": vectors, "y": ["no", "yes"] * (len(values) // 2)})


def make_values(n: int = 8, width: int = MIN_WIDTH) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


@pytest.mark.parametrize("inner", [pl.Float32, pl.Float64])
def test_lists_are_vectors_in_their_own_precision(tmp_path, inner):
    values = make_values()
    table = read_rows(write_study(tmp_path, make_table(values, inner), features=["v"]))
    (column,) = table.measurements.vectors
    kind = np.float32 if inner == pl.Float32 else np.float64
    assert column.values.dtype == kind
    assert (column.values == values).all()
    assert table.measurements.numbers.shape == (8, 0)
    assert table.measurements.kinds == (f"lists of {MIN_WIDTH} numbers",)
    digest = hashlib.sha256(values[5].astype(np.float64).tobytes()).hexdigest()[:12]
    assert table.texts[5] == f"v=[{MIN_WIDTH} numbers, {digest}]"


def test_short_lists_are_columns(tmp_path):
    frame = make_table(make_values(width=MIN_WIDTH - 1), pl.Float32)
    measurements = read_rows(write_study(tmp_path, frame, features=["v"])).measurements
    assert measurements.vectors == ()
    assert measurements.numbers.shape == (8, MIN_WIDTH - 1)


def test_selected_rows_are_in_their_order_and_share_the_memory(tmp_path):
    values = make_values()
    table = read_rows(write_study(tmp_path, make_table(values, pl.Float32), features=["v"]))
    twice = table.take([6, 0, 3]).take([2, 0])
    (column,) = twice.measurements.vectors
    assert column.values is table.measurements.vectors[0].values
    assert column.shape == (2, MIN_WIDTH)
    assert (column.read_columns(4, 9) == values[[3, 6], 4:9].astype(np.float64)).all()
    assert len(twice.measurements) == 2


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_infinite_and_constant_vectors_are_noticed_in_every_tile(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(vector_column, "TILE_ROWS", rows)
    values = make_values()
    values[[2, 7], 5] = np.inf
    assert VectorColumn(values).find_infinite() == [2, 7]
    frame = make_table(values, pl.Float32)
    assert "infinity in row 3, 8" in refusal(write_study(tmp_path, frame, features=["v"]))
    constant = np.repeat(make_values(1), 8, axis=0)
    constant[:, 3] = np.nan
    assert VectorColumn(constant).is_constant()
    constant[7, 0] += 1
    assert not VectorColumn(constant).is_constant()


def test_missing_numbers_of_vectors_are_stated(tmp_path):
    values = make_values().astype(object)
    values[1, 4] = None
    values[6, :3] = float("nan")
    table = read_rows(write_study(tmp_path, make_table(values, pl.Float32), features=["v"]))
    (note,) = [note for note in table.notes if "lacks numbers" in note]
    assert "v lacks numbers in 2 rows" in note
    complete = read_rows(
        write_study(tmp_path, make_table(make_values(), pl.Float32), features=["v"])
    )
    assert not any("lacks numbers" in note for note in complete.notes)


def test_empty_lists_are_refused(tmp_path):
    frame = pl.DataFrame(
        {"v": pl.Series([[]] * 4, dtype=pl.List(pl.Float32)), "y": ["no", "yes"] * 2}
    )
    assert "numbers" in refusal(write_study(tmp_path, frame, features=["v"]))


def test_too_many_single_columns_are_refused_with_the_form_that_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(joined_columns, "MAX_CELLS", 20)
    frame = make_table(make_values(), pl.Float32).with_columns(a=1.0, b=2.0, c=pl.col("y"))
    path = write_study(tmp_path, frame, features=["v", "a", "b", "c"])
    message = refusal(path)
    assert "24 (3 columns of 8 rows)" in message
    assert "list of numbers" in message
    monkeypatch.setattr(joined_columns, "MAX_CELLS", 24)
    path.touch()
    assert len(read_rows(path)) == 8
