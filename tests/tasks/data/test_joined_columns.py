"""Columns of numbers of a large table are one vector; a smaller table is read as before."""

import numpy as np
import polars as pl
import pytest

from tasks.data import joined_columns
from tasks.data.inputs import read_inputs
from tests.tasks.data.test_tabular import read_rows, refusal, write_study

ROWS, WIDTH = 40, 36
NAMES = [f"x{i}" for i in range(WIDTH)]
VECTOR = f"x0 to x{WIDTH - 1}"


def make_values(seed=0, rows=ROWS):
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def make_labels(rows):
    return ["no", "yes"] * (rows // 2)


def make_wide(values):
    columns = dict(zip(NAMES, values.T, strict=True))
    return pl.DataFrame(columns).with_columns(y=pl.Series(make_labels(len(values))))


def make_lists(values):
    vectors = pl.Series(VECTOR, values.tolist(), dtype=pl.List(pl.Float32))
    return pl.DataFrame({VECTOR: vectors, "y": make_labels(len(values))})


@pytest.fixture
def low_limit(monkeypatch):
    """A limit that columns with the table's numbers exceed."""
    monkeypatch.setattr(joined_columns, "MAX_CELLS", ROWS * WIDTH - 1)


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize(("file", "inner"), [("t.parquet", pl.Float32), ("t.csv", pl.Float64)])
def test_many_columns_are_read_as_the_list_of_the_same_numbers(tmp_path, file, inner):
    values = make_values()
    values[3, 4] = np.nan
    wide = make_wide(values).with_columns(pl.col(NAMES).cast(inner).fill_nan(None))
    table = read_rows(write_study(tmp_path, wide, file, features=NAMES))
    other = tmp_path / "lists"
    other.mkdir()
    lists = read_rows(write_study(other, make_lists(values), features=[VECTOR]))
    assert table.texts == lists.texts
    assert table.digest == lists.digest
    (column,), (expected,) = table.measurements.vectors, lists.measurements.vectors
    assert column.values.dtype == expected.values.dtype == np.float32
    np.testing.assert_array_equal(column.values, expected.values)
    assert table.measurements.numbers.shape == (ROWS, 0)
    assert any(f"the {WIDTH} columns of numbers {VECTOR} are" in note for note in table.notes)
    assert any(f"{VECTOR} lacks numbers in 1 rows" in note for note in table.notes)


def test_columns_of_a_table_below_the_limit_stay_single(tmp_path, monkeypatch):
    monkeypatch.setattr(joined_columns, "MAX_CELLS", ROWS * WIDTH)
    measured = read_rows(write_study(tmp_path, make_wide(make_values()), features=NAMES))
    assert measured.measurements.vectors == ()
    np.testing.assert_array_equal(measured.measurements.numbers, make_values())
    assert measured.notes == ()


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("order", [1, -1])
def test_other_features_of_the_table_stay(tmp_path, order):
    others = {"k": ["a", "b"] * (ROWS // 2), "short": [[1, 2], [3, 4]] * (ROWS // 2)}
    long = pl.Series("long", make_values(1).tolist(), dtype=pl.List(pl.Float32))
    frame = make_wide(make_values()).with_columns(
        long, **{k: pl.Series(v) for k, v in others.items()}
    )
    features = ["k", *NAMES, "short", "long"][::order]
    table = read_rows(write_study(tmp_path, frame, features=features))
    joined, lists = table.measurements.vectors
    np.testing.assert_array_equal(joined.values, make_values()[:, ::order])
    np.testing.assert_array_equal(lists.values, make_values(1))
    assert table.measurements.categories == [others["k"]]
    assert table.measurements.numbers.tolist() == others["short"]
    assert len(table.measurements.kinds) == WIDTH + 3
    assert len(set(table.texts)) == ROWS


@pytest.mark.usefixtures("low_limit")
def test_queries_are_read_as_the_training_rows(tmp_path):
    make_wide(make_values(5, rows=4)).write_parquet(tmp_path / "q.parquet")
    path = write_study(tmp_path, make_wide(make_values()), features=NAMES)
    section = path.read_text().partition("[train]")[2].partition("[store]")[0]
    queries = section.replace("t.parquet", "q.parquet")
    path.write_text(f"{path.read_text()}[queries]{queries}trusted = true\n")
    inputs = read_inputs(path)
    (column,) = inputs.queries.measurements.vectors
    np.testing.assert_array_equal(column.values, make_values(5, rows=4))
    assert inputs.queries.texts[0].startswith(f"{VECTOR}=[{WIDTH} numbers, ")


@pytest.mark.usefixtures("low_limit")
def test_what_is_no_vector_is_refused(tmp_path):
    frame = make_wide(make_values())
    names = NAMES[: joined_columns.MIN_WIDTH - 1]
    words = [f"w{i}" for i in range(WIDTH - len(names))]
    mixed = frame.with_columns(pl.col("y").alias(word) for word in words)
    message = refusal(write_study(tmp_path, mixed, features=[*names, *words]))
    assert f"{ROWS * WIDTH:,} ({WIDTH} columns of {ROWS} rows)" in message
    assert "list of numbers" in message
    words = [f"w{i}" for i in range(WIDTH)]
    many = frame.with_columns(pl.col("y").alias(word) for word in words)
    message = refusal(write_study(tmp_path, many, features=[*NAMES, *words]))
    assert f"({WIDTH} columns of {ROWS} rows)" in message
    infinite = frame.with_columns(x7=pl.lit(float("inf")))
    assert "column x7 expected" in refusal(write_study(tmp_path, infinite, features=NAMES))


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("place", [0, 20])
def test_numbers_beyond_single_precision_keep_their_differences(tmp_path, place):
    times = 1.7e9 + np.arange(ROWS)
    frame = make_wide(make_values()).with_columns(pl.Series(NAMES[place], times))
    (column,) = read_rows(write_study(tmp_path, frame, features=NAMES)).measurements.vectors
    np.testing.assert_array_equal(column.values[:, place], times)
    others = np.delete(np.arange(WIDTH), place)
    np.testing.assert_array_equal(column.values[:, others], make_values()[:, others])


@pytest.mark.parametrize(
    ("numbers", "fits"),
    [
        ([0.1, np.nan, 0.3], True),
        ([np.nan, np.nan], True),
        ([0.1, 0.1], True),
        ([1e300, 1.0], False),
        ([1e9, 0.1, 0.2, 0.3, 0.4], True),
        ([1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3], False),
    ],
)
def test_rounding_is_relative_to_the_spread(numbers, fits):
    assert joined_columns.fits_single_precision(np.array(numbers)) == fits
