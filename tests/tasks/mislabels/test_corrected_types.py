"""Corrected tables in formats with types: types, categories, metadata and other cells stay."""

import datetime
from decimal import Decimal

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastif import InputError
from tests.tasks.mislabels.corrected_study import (
    RIGHTS,
    TEXTS,
    annotate,
    apply_to,
    make_study,
    write_study,
)


def make_typed() -> pa.Table:
    """Rows of many types, in two chunks, with metadata."""
    time = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    columns = {
        "vector": pa.array([[1.5, 2.5], None, [], [3.0]], pa.list_(pa.float32())),
        "id": pa.array(["a", "b", "c", "d"], pa.large_string()),
        "when": pa.array([time, None, time, time], pa.timestamp("ms", "Europe/Vienna")),
        "day": pa.array([time.date(), None, time.date(), None], pa.date32()),
        "price": pa.array(
            [Decimal("1.20"), None, Decimal("0.10"), Decimal(3)], pa.decimal128(9, 2)
        ),
        "genre": pa.array(["x", None, "y", "x"]).dictionary_encode(),
        "count": pa.array([1, None, 3, 4], pa.int16()),
        "text": pa.array(["t1", "t2", "t3", "t4"]),
        "blob": pa.array([b"\x00", None, b"b", b""]),
        "label": pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 0, 0], pa.int8()), pa.array(["neg", "pos", "odd"]), ordered=True
        ),
    }
    table = pa.table(columns).replace_schema_metadata({"owner": "us"})
    return pa.concat_tables([table.slice(0, 1), table.slice(1)])


def expect_typed(table: pa.Table) -> list[dict]:
    rows = table.to_pylist()
    return [{**rows[0], "label": "pos"}, rows[1], rows[3]]


def check_typed(actual: pa.Table, table: pa.Table) -> None:
    assert actual.schema.equals(table.schema, check_metadata=True)
    assert actual.to_pylist() == expect_typed(table)


def test_a_parquet_file_keeps_types_categories_and_metadata(tmp_path):
    table = make_typed()
    pq.write_table(table, tmp_path / "rows.parquet", compression="zstd")
    table = pq.ParquetFile(tmp_path / "rows.parquet").read()  # as pyarrow stores it
    study = make_study(tmp_path, (tmp_path / "rows.parquet").read_bytes(), "rows.parquet")
    path = apply_to(study, "out.parquet")
    check_typed(pq.ParquetFile(path).read(), table)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    assert path.stat().st_size < 3 * (tmp_path / "rows.parquet").stat().st_size
    with pytest.raises(InputError, match="column vector, of type List"):
        apply_to(study, "flat.csv")


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_arrow_file_keeps_types_categories_and_metadata(tmp_path, is_stream):
    table = make_typed().unify_dictionaries()
    make_writer = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with make_writer(tmp_path / "made", table.schema) as writer:
        writer.write_table(table)
    study = make_study(tmp_path, (tmp_path / "made").read_bytes(), "rows.arrow")
    data = pa.BufferReader(apply_to(study, "out.arrow").read_bytes())
    reader = pa.ipc.open_stream(data) if is_stream else pa.ipc.open_file(data)
    check_typed(reader.read_all(), table)
    converted = pq.ParquetFile(apply_to(study, "other.parquet")).read()
    assert converted.to_pylist() == expect_typed(table)


@pytest.mark.parametrize(
    ("dtype", "names", "after"),
    [
        (pl.Int8, "01", [1, 1, 0]),
        (pl.Float64, "01", [1.0, 1.0, 0.0]),
        (pl.Decimal(5, 1), "01", [Decimal("1.0"), Decimal("1.0"), Decimal("0.0")]),
        (pl.Boolean, ("false", "true"), [True, True, False]),
        (pl.Enum(["0", "1"]), "01", ["1", "1", "0"]),
        (pl.Categorical, "01", ["1", "1", "0"]),
    ],
)
def test_labels_keep_their_type(tmp_path, dtype, names, after):
    labels = pl.Series([0, 1, 0, 0])
    labels = (
        labels.cast(pl.String).cast(dtype)
        if dtype in (pl.Enum, pl.Categorical)
        else labels.cast(dtype)
    )
    frame = pl.DataFrame({"id": list("abcd"), "text": list("wxyz"), "label": labels})
    frame.write_parquet(tmp_path / "made")
    rights = {"a": names[1], "c": None}
    study = make_study(tmp_path, (tmp_path / "made").read_bytes(), "rows.parquet", names, rights)
    actual = pl.read_parquet(apply_to(study, "out.parquet"))
    assert actual.schema == frame.schema
    assert actual["label"].to_list() == after


def test_a_label_that_the_type_cannot_hold_is_refused(tmp_path):
    labels = pl.Series(["x", "y", "x"], dtype=pl.Enum(["x", "y"]))
    frame = pl.DataFrame({"id": list("abc"), "text": list("uvw"), "label": labels})
    frame.write_parquet(tmp_path / "made")
    study = make_study(
        tmp_path, (tmp_path / "made").read_bytes(), "rows.parquet", "xyz", {"a": "z"}
    )  # fmt: skip
    with pytest.raises(InputError, match='holds the label "z"'):
        apply_to(study, "out.parquet")


def test_a_nested_label_of_a_parquet_file(tmp_path):
    meta = [{"label": "neg", "n": 1}, {"label": "pos", "n": None}, {"label": "neg", "n": 3},
            {"label": "neg", "n": 4}]  # fmt: skip
    table = pa.table({"id": list("abcd"), "meta": meta, "text": list("wxyz")})
    pq.write_table(table, tmp_path / "made")
    study = make_study(
        tmp_path, (tmp_path / "made").read_bytes(), "rows.parquet", label="meta.label"
    )
    actual = pq.read_table(apply_to(study, "out.parquet"))
    assert actual.schema.equals(table.schema)
    assert actual["meta"].to_pylist() == [{"label": "pos", "n": 1}, meta[1], meta[3]]


def test_a_data_set_is_written_with_the_names_of_its_classes(tmp_path):
    classes = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"id": datasets.Value("string"), "text": datasets.Value("string"),
                                  "n": datasets.Value("int16"), "label": classes})  # fmt: skip
    rows = {"id": list("abcd"), "text": list("wxyz"), "n": [1, 2, 3, None], "label": [0, 1, 0, 0]}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "made"))
    study = write_study(tmp_path, ["pos", "neg"], {**TEXTS, "dataset": "made", "split": "train"})
    annotate(study, RIGHTS)
    actual = pl.read_parquet(apply_to(study, "out.parquet"))
    assert actual.rows() == [("a", "w", 1, "pos"), ("b", "x", 2, "pos"), ("d", "z", None, "neg")]
    assert actual.schema["n"] == pl.Int16
    with pytest.raises(InputError, match="outside the data set"):
        apply_to(study, "made/out.parquet")


def test_uuids_and_the_index_of_pandas_are_kept(tmp_path):
    names = [bytes([i]) * 16 for i in range(1, 5)]
    columns = {"id": pa.array(names, pa.uuid()), "text": list("wxyz"),
               "label": ["neg", "pos", "neg", "neg"]}  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "made")
    first = "01010101-0101-0101-0101-010101010101"
    content = (tmp_path / "made").read_bytes()
    study = make_study(tmp_path, content, "rows.parquet", rights={first: "pos"})
    actual = pq.read_table(apply_to(study, "out.parquet"))
    assert actual.schema.field("id").type == pa.uuid()
    assert actual["label"].to_pylist() == ["pos", "pos", "neg", "neg"]
    assert pl.read_csv(tmp_path / "out.changes.csv")["id"].to_list() == [first]


def test_a_table_of_pandas_is_read_by_pandas_again(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"text": list("wxyz"), "label": pandas.Categorical(["neg", "pos", "neg", "neg"]),
         "n": pandas.array([1, None, 3, 4], dtype="Int64")},
        index=pandas.Index(list("abcd"), name="id"),
    )  # fmt: skip
    frame.to_parquet(tmp_path / "made")
    study = make_study(tmp_path, (tmp_path / "made").read_bytes(), "rows.parquet")
    actual = pandas.read_parquet(apply_to(study, "out.parquet"))
    expected = frame.drop(index="c")
    expected.loc["a", "label"] = "pos"
    pandas.testing.assert_frame_equal(actual, expected)


def test_vectors_are_kept_and_a_format_that_rounds_them_is_refused(tmp_path):
    vectors = pa.array([[x] * 40 for x in (0.1, 0.2, 0.3, 0.4, 0.1)], pa.list_(pa.float32()))
    columns = {"id": list("abcde"), "v": vectors, "n": [1, None, 3, 4, 1], "label": [0, 1, 0, 0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    keys = {"table": "rows.parquet", "features": ["v", "n"], "label": "label", "id": "id"}
    study = write_study(tmp_path, ["0", "1"], keys)
    annotate(study, {"a": "1", "c": None})
    path = apply_to(study, "out.parquet", duplicates=True)
    # Row e is equal to row a, whose label is the same by now.
    assert pq.read_table(path).to_pydict() == {
        "id": ["a", "b", "d"],
        "v": [vectors.to_pylist()[i] for i in (0, 1, 3)],
        "n": [1, None, 4],
        "label": [1, 1, 0],
    }
    with pytest.raises(InputError, match="other values in the column features"):
        apply_to(study, "lines.jsonl")
    assert apply_to(study, "again.arrow").exists()
