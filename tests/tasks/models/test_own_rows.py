"""The rows that the collate function of an own module gets: mappings by column."""

import io

import numpy as np
import own_package
import polars as pl
import pytest
import tiny
from PIL import Image

from tasks.data.inputs import read_inputs
from tasks.data.row_values import read_rows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    own_package.install(tmp_path, monkeypatch)
    return tmp_path


def test_rows_are_mappings_by_column(folder):
    """Numbers are floats, lists arrays, categories text or None, in the order of the study."""
    path = folder / "lists.parquet"
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "short": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "job": ["x", None, "y"],
            "long": [[float(i + j) for j in range(40)] for i in range(3)],
            "age": [1, None, 3],
            "label": ["granted", "refused", "granted"],
        }
    )
    frame.write_parquet(path)
    section = {"table": "lists.parquet", "features": ["age", "long", "job", "short"]}
    study, *_ = own_package.make_study(folder, train=section, queries=section)
    inputs = read_inputs(study)
    rows = read_rows(inputs.study.train, inputs.train)
    assert rows[0]["age"] == 1.0
    assert rows[1]["age"] != rows[1]["age"]  # NaN
    assert rows[1]["job"] is None
    assert rows[2]["short"].tolist() == [5.0, 6.0]
    assert rows[2]["long"].tolist() == frame["long"][2].to_list()
    assert len(rows[:2]) == 2


def test_image_files_are_bytes(folder):
    """A module of one's own reads image files by its own collate function."""
    pixels = np.arange(12 * 9, dtype=np.uint8).reshape(12, 3, 3)
    files = []
    for image in pixels:
        Image.fromarray(image).save(buffer := io.BytesIO(), format="PNG")
        files.append(buffer.getvalue())
    labels = [own_package.LABELS[i % 2] for i in range(12)]
    frame = pl.DataFrame({"id": [f"{i}" for i in range(12)], "photo": files, "label": labels})
    frame.write_parquet(folder / "photos.parquet")
    section = {"table": "photos.parquet", "features": None, "image": "photo"}
    study, *_ = own_package.make_study(folder, train=section, queries=section)
    inputs = read_inputs(study)
    rows = read_rows(inputs.study.train, inputs.train)
    assert [row["photo"] for row in rows[:12]] == files


def test_texts_are_passed_by_column(world, monkeypatch):
    """Pairs of texts are mappings with both columns."""
    section = {"text": ["text", "second"]}
    study = tiny.write_study(world, train=section, queries=section)
    inputs = read_inputs(study)
    row = read_rows(inputs.study.train, inputs.train)[0]
    assert row == {"text": inputs.train.texts[0], "second": inputs.train.text_pairs[0]}
