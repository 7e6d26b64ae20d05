"""Features and images are read as numbers and categories, or refused with the invalid row."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tasks.data.images import MAX_SIDE
from tasks.data.inputs import read_inputs
from tasks.data.near_duplicates import number_contents
from tasks.data.row_hashes import row_digests
from tasks.study.errors import StudyError
from tasks.study.study import load_study

LABELS = ["no", "yes", "no", "yes"]


def write_study(folder: Path, frame: pl.DataFrame, file: str = "t.parquet", **keys) -> Path:
    """Write a labels-only study of a table."""
    write = frame.write_csv if file.endswith(".csv") else frame.write_parquet
    write(folder / file)
    lines = ['name = "s"', 'labels = ["no", "yes"]', "[train]", f'table = "{file}"']
    lines += ['label = "y"', *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "s.toml"
    path.write_text("\n".join([*lines, "[store]", 'path = "store"']) + "\n")
    return path


def read_rows(path: Path):
    return read_inputs(path).train


def refusal(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        read_rows(path)
    return " ".join(str(caught.value).split())


def encode_image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def random_pixels(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_numbers_lists_and_kinds_of_a_typed_table(tmp_path):
    frame = pl.DataFrame(
        {
            "a": [1.5, None, float("nan"), -2.0],
            "b": [True, False, True, False],
            "v": [[1, 2], [3, 4], [5, 6], [7, 8]],
            "k": ["x", None, "007", "x"],
            "y": LABELS,
        }
    )
    table = read_rows(write_study(tmp_path, frame, features=["a", "b", "v", "k"]))
    nan = np.nan
    expected = [[1.5, 1, 1, 2], [nan, 0, 3, 4], [nan, 1, 5, 6], [-2, 0, 7, 8]]
    np.testing.assert_array_equal(table.measurements.numbers, expected)
    assert table.measurements.categories == [["x", None, "007", "x"]]
    assert not table.measurements.image
    assert table.texts[0].startswith("a=1.5, b=true, v=[2 numbers, ")
    assert table.texts[1].endswith("k=?")


def test_text_of_a_csv_file_is_numbers_where_all_of_it_can_be(tmp_path):
    frame = pl.DataFrame({"a": ["1", "", "2.5", "1e3"], "k": ["1", "x", "2", ""], "y": LABELS})
    measured = read_rows(write_study(tmp_path, frame, "t.csv", features=["a", "k"])).measurements
    np.testing.assert_array_equal(measured.numbers[:, 0], [1, np.nan, 2.5, 1000])
    assert measured.categories == [["1", "x", "2", None]]


def test_descriptions_of_rows_contain_all_values(tmp_path):
    """Signs, decimal points, lists, and categories that contain separators."""
    frame = pl.DataFrame(
        {
            "a": [1.5, 15.0, -1.5, 1.5],
            "v": [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.5]],
            "k": ["x, v=1", "x", "x", "x"],
            "y": ["no"] * 3 + ["yes"],
        }
    )
    table = read_rows(write_study(tmp_path, frame, features=["a", "v", "k"]))
    assert len(set(row_digests(table, ["no", "yes"]))) == 4
    assert '"x, v=1"' in table.texts[0]
    some = table.take([3, 0])
    np.testing.assert_array_equal(some.measurements.numbers, table.measurements.numbers[[3, 0]])
    assert some.measurements.categories == [["x", "x, v=1"]]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([1.0, float("inf"), 2.0, 3.0], "infinity in row 2"),
        ([[1, 2], [3], [4, 5], None], "a length other than 2 in row 2, 4"),
        ([["a"], ["b"], ["c"], ["d"]], "List(String)"),
        ([b"a", b"b", b"c", b"d"], "Binary"),
    ],
    ids=["infinite", "lengths", "lists of texts", "bytes"],
)
def test_unsupported_columns_are_refused(tmp_path, column, words):
    message = refusal(
        write_study(tmp_path, pl.DataFrame({"a": column, "y": LABELS}), features=["a"])
    )
    assert "column a" in message
    assert words in message


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_images_of_one_small_size_are_their_pixels(tmp_path, kind, channels):
    pixels = random_pixels(4, 8, 6, *channels)
    frame = pl.DataFrame({"i": [encode_image(image, kind) for image in pixels], "y": LABELS})
    rows = read_rows(write_study(tmp_path, frame, image="i")).measurements
    assert rows.image
    np.testing.assert_allclose(rows.numbers, pixels.reshape(4, -1) / 255, atol=1e-6)


def test_images_as_the_datasets_library_has_them_and_as_bare_pixels(tmp_path):
    pixels = random_pixels(4, 5, 5)
    ways = {
        "struct": [{"bytes": encode_image(image), "path": None} for image in pixels],
        "bytes": [image.tobytes() for image in pixels],
        "lists": [image.tolist() for image in pixels],
    }
    for name, column in ways.items():
        (folder := tmp_path / name).mkdir()
        rows = read_rows(write_study(folder, pl.DataFrame({"i": column, "y": LABELS}), image="i"))
        np.testing.assert_allclose(
            rows.measurements.numbers, pixels.reshape(4, -1) / 255, atol=1e-6
        )
        assert len(set(rows.texts)) == 4


def test_images_of_unequal_or_large_size_are_made_alike(tmp_path):
    files = [encode_image(random_pixels(1, side, side)[0]) for side in (20, 30, 40, 300)]
    rows = read_rows(write_study(tmp_path, pl.DataFrame({"i": files, "y": LABELS}), image="i"))
    assert rows.measurements.numbers.shape == (4, MAX_SIDE * MAX_SIDE)


def test_images_that_are_equal_once_resized_are_other_contents(tmp_path):
    """Two large images that differ in one pixel are equal when they are resized."""
    image = random_pixels(1, 640, 640)[0]
    spot = image.copy()
    spot[0, 0] ^= 1
    large = [encode_image(each) for each in (image, spot, image, spot)]
    small = [encode_image(each[:20, :20]) for each in (image, spot, image, spot)]
    contents = {}
    for name, files in (("large", large), ("small", small)):
        (tmp_path / name).mkdir()
        frame = pl.DataFrame({"i": files, "y": LABELS})
        rows = read_rows(write_study(tmp_path / name, frame, image="i"))
        contents[name] = number_contents(rows).tolist()
        assert contents[name] in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_rows_of_columns_have_no_contents(tmp_path):
    frame = pl.DataFrame({"a": [1.0, 1.0, 2.0, 3.0], "y": LABELS})
    assert number_contents(read_rows(write_study(tmp_path, frame, features=["a"]))) is None


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            [encode_image(random_pixels(1, 4, 4)[0]), b"\x89PNG nonsense", b"", b"x"],
            "row 2: no image",
        ),
        ([b"abcd", b"abc", b"abcd", b"abcd"], "4 in row 1, 3 in row 2"),
        ([b"abcd", None, b"abcd", b"abcd"], "null in row 2"),
        ([[0, 255], [0, 256], [1, 1], [1, 1]], "others in row 2"),
        (["a", "b", "c", "d"], "String"),
    ],
    ids=["broken", "lengths", "null", "range", "texts"],
)
def test_invalid_images_are_refused(tmp_path, column, words):
    frame = pl.DataFrame({"i": column, "y": LABELS})
    assert words in refusal(write_study(tmp_path, frame, image="i"))


def test_missing_keys_and_columns_are_named(tmp_path):
    frame = pl.DataFrame({"age": [1, 2, 3, 4], "y": LABELS})
    message = refusal(write_study(tmp_path, frame, features=["agge"]))
    assert "[train] features" in message
    assert "age" in message


@pytest.mark.parametrize(
    ("more", "where", "words"),
    [
        ('[model]\npath = "m"\n[queries]\ntable = "t.parquet"\nfeatures = ["age"]\nlabel = "y"\n'
         '[curvature]\ndamping = 1.0\n[candidates]\nkind = "full"\n', "[train] features", "remove"),
        ("[mislabels]\nfolds = 3\n", "[mislabels]", "no training and no judge"),
        ('[mislabels]\nencoder = "e"\n', "[mislabels] encoder", "used as they are"),
        ('[queries]\ntable = "t.parquet"\ntext = "age"\nlabel = "y"\n', "[queries] features",
         "the same columns"),
    ],
    ids=["audit", "folds", "encoder", "queries of texts"],
)  # fmt: skip
def test_sections_that_need_texts_are_refused(tmp_path, more, where, words):
    path = write_study(tmp_path, pl.DataFrame({"age": [1, 2, 3, 4], "y": LABELS}), features=["age"])
    path.write_text(path.read_text() + more)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    problems = [problem for problem in caught.value.problems if problem.where == where]
    assert problems, caught.value
    assert words in f"{problems[0].expected} {problems[0].remedy}"


def test_text_and_features_together_are_refused(tmp_path):
    frame = pl.DataFrame({"age": [1, 2, 3, 4], "y": LABELS})
    path = write_study(tmp_path, frame, features=["age"], text="y")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    (problem,) = caught.value.problems  # and not again for the queries that stand in for none
    assert (problem.where, problem.got) == ("[train] text", "text and features")


def test_whole_numbers_that_would_be_rounded_are_refused_with_their_rows(tmp_path):
    ids = [2**53 + 1, 2**53 + 2, 5, 6]
    for file in ("t.parquet", "t.csv"):
        frame = pl.DataFrame({"a": ids, "y": LABELS})
        message = refusal(write_study(tmp_path, frame, file, features=["a"]))
        assert "beyond 2^53 in row 1, 2" in message


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["5", "5", "5", "5"], "a is constant"),
        (["", "", "", ""], "a is constant"),
        (["1", "NA", "3", "4"], '4 categories, not as numbers, since it contains "NA"'),
        (["1,5", "2,25", "3,1", "4,0"], "4 categories, not as numbers, since it contains numbers"),
        (["2024-01-02", "2024-01-03", "2023-05-06", "x"], "4 categories: the order of its dates"),
        (["1", "2", "3", ""], None),
        (["x", "y", "x", "y"], None),
    ],
)
def test_columns_that_may_be_misread_are_noted(tmp_path, column, words):
    frame = pl.DataFrame({"a": column, "y": LABELS})
    notes = read_rows(write_study(tmp_path, frame, "t.csv", features=["a"])).measurements.notes
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]


@pytest.mark.parametrize(("different", "rows", "noted"), [(4, 60, 1), (29, 30, 1), (30, 60, 0)])
def test_few_different_rows_are_noted(tmp_path, different, rows, noted):
    frame = pl.DataFrame(
        {"a": [i % different for i in range(rows)], "y": [LABELS[i % 2] for i in range(rows)]}
    )
    notes = read_rows(write_study(tmp_path, frame, "t.csv", features=["a"])).measurements.notes
    assert [f"only {different} of {rows} rows are distinct" in note for note in notes] == [
        True
    ] * noted


def write_queries(folder: Path, train: pl.DataFrame, queries: pl.DataFrame, **keys) -> Path:
    """Write a labels-only study of a table with further rows."""
    path = write_study(folder, train, "t.csv", features=["a", "k"])
    queries.write_csv(folder / "q.csv")
    keys = {"table": "q.csv", "features": ["a", "k"], "label": "y"} | keys
    lines = ["[queries]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    return path


def test_features_of_another_kind_in_the_queries_are_refused(tmp_path):
    train = pl.DataFrame({"a": ["1", "2", "3", "4"], "k": ["x", "z", "x", "z"], "y": LABELS})
    assert len(read_inputs(write_queries(tmp_path, train, train)).queries) == 4
    swapped = train.with_columns(a=pl.Series(["1", "NA", "3", "4"]), k=pl.Series(list("1234")))
    message = refusal(write_queries(tmp_path, train, swapped))
    assert "numbers in column a, as in [train] got: categories" in message
    assert "categories in column k, as in [train] got: numbers" in message
    fewer = write_queries(tmp_path, train, train, features=["a"])
    assert "2 columns, as in [train] got: 1" in refusal(fewer)


def test_features_in_another_order_in_the_queries_are_refused(tmp_path):
    train = pl.DataFrame({"a": ["1", "2", "3", "4"], "k": ["5", "6", "7", "8"], "y": LABELS})
    message = refusal(write_queries(tmp_path, train, train, features=["k", "a"]))
    assert "the order of [train]: a, k got: k, a" in message
