"""Images by path: a column of paths, and a folder of images by class."""

import io
import os

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tasks.data.dataset import read_table
from tasks.data.inputs import read_table_once
from tasks.data.preview import preview_table
from tasks.study.errors import StudyError
from tasks.study.sections import TableSource

NAMES = ["cat/1.png", "cat/10.png", "cat/2.png", "dog/a b.PNG", "dog/\u00fc/3.png"]
LABELS = ["cat", "cat", "cat", "dog", "dog"]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)


def write_images(folder) -> None:
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        path.write_bytes(file.getvalue())


def read_images(folder, table: str, **keys):
    source = TableSource(**{"table": table, "image": "image", "label": "label"} | keys)
    return read_table(source, ["cat", "dog"], folder, "train")


def refusal(folder, table: str, **keys) -> str:
    with pytest.raises(StudyError) as caught:
        read_images(folder, table, **keys)
    return " ".join(str(caught.value).split())


def write_paths(folder, paths: list[str]) -> None:
    pl.DataFrame({"image": paths, "label": LABELS}).write_csv(folder / "t.csv")


def test_a_folder_of_images_by_class_is_a_table(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images" / "cat" / "notes.txt").touch()
    (tmp_path / "images" / ".hidden").touch()
    table = read_images(tmp_path, "images", id="path")
    assert (table.ids, table.labels) == (NAMES, [0, 0, 0, 1, 1])
    np.testing.assert_allclose(table.measurements.numbers, PIXELS.reshape(5, -1) / 255, atol=1e-6)
    (note,) = table.notes
    assert "1 files that are no images are left out" in note
    assert preview_table(tmp_path / "images", 2).frame.to_dict(as_series=False) == {
        "image": NAMES[:2],
        "label": ["cat", "cat"],
        "path": NAMES[:2],
    }


def test_a_column_of_paths_is_the_same_as_their_bytes(tmp_path):
    write_images(tmp_path / "data" / "images")
    write_paths(tmp_path / "data", [f"images/{name}" for name in NAMES])
    by_path = read_images(tmp_path, "data/t.csv")
    files = [(tmp_path / "data" / "images" / name).read_bytes() for name in NAMES]
    pl.DataFrame({"image": files, "label": LABELS}).write_parquet(tmp_path / "t.parquet")
    assert by_path.digest == read_images(tmp_path, "t.parquet").digest
    absolute = [str(tmp_path / "data" / "images" / name) for name in NAMES]
    write_paths(tmp_path / "data", absolute)
    assert read_images(tmp_path, "data/t.csv").digest == by_path.digest


def test_paths_without_a_file_are_refused_row_by_row(tmp_path):
    write_images(tmp_path / "data")
    write_images(tmp_path / "other")
    os.symlink(tmp_path / "other", tmp_path / "data" / "link")
    os.symlink(tmp_path / "other" / "cat" / "1.png", tmp_path / "data" / "cat" / "link.png")
    write_paths(
        tmp_path / "data",
        ["cat/none.png", "../other/cat/1.png", "link/cat/1.png", "cat/link.png", "dog"],
    )
    message = refusal(tmp_path, "data/t.csv")
    assert 'row 1: "cat/none.png" is no such file' in message
    for row in ('2: "../other/cat/1.png"', '3: "link/cat/1.png"', '4: "cat/link.png"'):
        assert f"row {row} is outside of this folder" in message
    assert 'row 5: "dog" is a folder' in message


def test_a_path_that_is_no_image_is_refused_with_its_row(tmp_path):
    write_images(tmp_path)
    (tmp_path / NAMES[2]).write_text("text")
    write_paths(tmp_path, NAMES)
    assert "row 3: no image" in refusal(tmp_path, "t.csv")
    pl.DataFrame({"image": [None, *NAMES[1:]], "label": LABELS}).write_csv(tmp_path / "t.csv")
    assert "null in row 1" in refusal(tmp_path, "t.csv")


def test_images_in_no_folder_have_no_label(tmp_path):
    write_images(tmp_path / "images" / "cat")
    assert "column" in refusal(tmp_path, "images", label="class")
    (tmp_path / "images" / "loose.png").touch()
    assert "images in no folder: loose.png" in refusal(tmp_path, "images")


def test_a_changed_image_is_read_again(tmp_path):
    write_images(tmp_path)
    write_paths(tmp_path, NAMES)
    source = TableSource(table="t.csv", image="image", label="label")
    first = read_table_once(source, ["cat", "dog"], tmp_path, "train")
    (tmp_path / NAMES[0]).write_bytes((tmp_path / NAMES[1]).read_bytes())
    assert read_table_once(source, ["cat", "dog"], tmp_path, "train").digest != first.digest


def test_an_image_folder_of_the_datasets_library(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images" / NAMES[-1]).rename(tmp_path / "images" / "dog" / "3.png")
    source = TableSource(dataset="images", split="train", image="image", label="label")
    table = read_table(source, ["cat", "dog"], tmp_path, "train")
    assert sorted(table.texts) == sorted(read_images(tmp_path, "images").texts)
