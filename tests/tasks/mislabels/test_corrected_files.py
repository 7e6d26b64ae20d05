"""Paths of a corrected table: nothing is overwritten, by any name, and nothing is left in parts."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from fastif import InputError
from storage import StoreError
from tasks.mislabels.corrected_files import check_corrected_table, name_corrected_table, name_log
from tasks.mislabels.corrected_table import correct_rows, find_store, write_corrected
from tasks.study.errors import StudyError
from tasks.study.study import load_study
from tests.tasks.data.test_image_files import write_images
from tests.tasks.mislabels.corrected_study import TEXTS, annotate, apply_to, correct, write_study

TABLE = b"id,text,label\na,x,neg\nb,y,pos\nc,z,neg\n"


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of a table and queries, with an annotation."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_bytes(TABLE)
    (tmp_path / "queries.csv").write_bytes(TABLE)
    train = {**TEXTS, "table": "data/rows.csv"}
    path = write_study(tmp_path, ["neg", "pos"], train, {**TEXTS, "table": "queries.csv"})
    annotate(path, {"a": "pos"})
    return path


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refuse(study: Path, path: Path) -> str:
    before = read_all(study.parent)
    with pytest.raises(InputError) as caught:
        check_corrected_table(load_study(study), path)
    assert read_all(study.parent) == before
    return str(caught.value)


def test_files_of_the_study_are_refused_by_any_name(study, tmp_path):
    rows = tmp_path / "data" / "rows.csv"
    assert "the table of [train]" in refuse(study, rows)
    assert "the table of [queries]" in refuse(study, tmp_path / "data" / ".." / "queries.csv")
    assert "the study file" in refuse(study, study)
    (tmp_path / "soft.csv").symlink_to(rows)
    assert "a link to the table of [train]" in refuse(study, tmp_path / "soft.csv")
    (tmp_path / "hard.parquet").hardlink_to(rows)
    assert "a link to the table of [train]" in refuse(study, tmp_path / "hard.parquet")
    (tmp_path / "new.changes.csv").symlink_to(rows)
    assert "new.changes.csv" in refuse(study, tmp_path / "new.csv")
    (tmp_path / "folder").symlink_to(tmp_path / "data", target_is_directory=True)
    assert "a link to the table of [train]" in refuse(study, tmp_path / "folder" / "rows.csv")
    assert rows.read_bytes() == TABLE


def test_other_paths_that_are_not_written(study, tmp_path):
    (tmp_path / "there.csv").touch()
    assert "one that exists" in refuse(study, tmp_path / "there.csv")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere.csv")
    assert "one that exists" in refuse(study, tmp_path / "dangling.csv")
    (tmp_path / "log.changes.csv").touch()
    assert "log.changes.csv" in refuse(study, tmp_path / "log.parquet")
    assert "outside the store" in refuse(study, tmp_path / "store" / "new.csv")
    assert "an address" in refuse(study, Path("s3://bucket/new.csv"))
    for name in ("new.xlsx", "new", "new.txt", "new.csv.rar"):
        assert "a name that ends in .parquet" in refuse(study, tmp_path / name)


def test_the_default_name_is_next_to_the_table_and_new(study, tmp_path):
    loaded, folder = load_study(study), tmp_path / "data"
    assert name_corrected_table(loaded) == folder / "rows-clean.csv"
    (folder / "rows-clean.changes.csv").touch()
    assert name_corrected_table(loaded) == folder / "rows-clean-2.csv"
    assert name_log(folder / "rows-clean-2.csv.gz") == folder / "rows-clean-2.changes.csv"
    (folder / "rows-clean-3.csv").write_bytes(TABLE)
    study.write_text(study.read_text().replace("rows.csv", "rows-clean-3.csv"))
    assert name_corrected_table(load_study(study)) == folder / "rows-clean-2.csv"


def test_a_file_that_appears_meanwhile_is_kept_and_nothing_else_is_left(study, tmp_path):
    corrected = correct(study)
    (tmp_path / "out.csv").write_bytes(b"other")
    before = read_all(tmp_path)
    with pytest.raises(InputError, match=r"out\.csv: expected a new file"):
        write_corrected(corrected, tmp_path / "out.csv")
    assert read_all(tmp_path) == before


def test_a_table_that_changes_meanwhile_is_refused(study, tmp_path):
    corrected = correct(study)
    (tmp_path / "data" / "rows.csv").write_bytes(TABLE.replace(b"z,neg", b"z,pos"))
    with pytest.raises(InputError, match="the same rows at each reading"):
        write_corrected(corrected, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_that_cannot_be_made_leaves_nothing(study, tmp_path):
    before = read_all(tmp_path)
    with pytest.raises(StoreError, match="a writable path"):
        write_corrected(correct(study), tmp_path / "queries.csv" / "out.csv")
    assert read_all(tmp_path) == before


CHILD = """
import os, signal, sys, time
from flows.cli.app import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background process
link = os.link
target, number = sys.argv[1], int(sys.argv[2])
def link_or_end(source, path):
    if path.name == target:
        os.kill(os.getpid(), number)
        time.sleep(0.1)  # another thread answers, and waits for renames that have begun
    return link(source, path)
os.link = link_or_end
sys.argv = ["fastif", "review", "apply", "--out", sys.argv[3], "--study", sys.argv[4]]
main()
"""


@pytest.mark.default_cases(
    "9-out.csv",
    "2-out.changes.csv",
)
@pytest.mark.parametrize("target", ["out.changes.csv", "out.csv"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_write_leaves_no_table_without_its_log(study, tmp_path, target, number):
    to = tmp_path / "out.csv"
    words = [target, str(int(number)), str(to), str(study)]
    command = [sys.executable, "-c", textwrap.dedent(CHILD), *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert done.returncode != 0, done.stdout
    if number == signal.SIGINT:  # both renames that have begun are finished
        assert to.exists()
        assert name_log(to).exists()
        assert not list(tmp_path.glob(".*"))
    else:
        assert not to.exists()
        assert name_log(to).exists() == (target == to.name)
    assert (tmp_path / "data" / "rows.csv").read_bytes() == TABLE
    assert apply_to(study, "again.csv").read_bytes() == TABLE.replace(b"x,neg", b"x,pos")


def test_images_by_path_stay_in_the_folder_of_their_table(tmp_path):
    folder = tmp_path / "pictures"
    write_images(folder)
    lines = ["image,label,id", "cat/1.png,cat,a", "cat/2.png,dog,b", "dog/a b.PNG,dog,c"]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    keys = {"table": "pictures/t.csv", "image": "image", "label": "label", "id": "id"}
    study = write_study(tmp_path, ["cat", "dog"], keys)
    annotate(study, {"b": "cat"})
    with pytest.raises(InputError, match="paths of images start"):
        apply_to(study, "out.csv")
    path = apply_to(study, "pictures/out.csv")
    assert path.read_text() == "\n".join(lines).replace("2.png,dog", "2.png,cat") + "\n"
    study.write_text(study.read_text().replace("t.csv", "out.csv"))
    assert not correct_rows(study, find_store(load_study(study)), False, False).correction.changes


def test_a_folder_of_images_has_no_table_to_correct(tmp_path):
    write_images(tmp_path / "pictures")
    keys = {"table": "pictures", "image": "image", "label": "label", "id": "path"}
    study = write_study(tmp_path, ["cat", "dog"], keys)
    annotate(study, {"cat/2.png": "dog"})
    (change,) = correct(study).correction.changes
    assert change.after == "dog"
    default = name_corrected_table(load_study(study))
    assert default == tmp_path / "pictures-clean.parquet"
    with pytest.raises(StudyError, match="folder of images"):
        apply_to(study, default.name)
    with pytest.raises(InputError, match="outside the images"):
        apply_to(study, "pictures/out.csv")


def test_images_as_bytes_keep_them(tmp_path):
    write_images(tmp_path / "pictures")
    files = [(tmp_path / "pictures" / name).read_bytes() for name in ("cat/1.png", "cat/2.png")]
    columns = {"image": [*files, files[0]], "label": ["cat", "cat", "dog"], "id": list("abc")}
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    keys = {"table": "t.parquet", "image": "image", "label": "label", "id": "id"}
    study = write_study(tmp_path, ["cat", "dog"], keys)
    annotate(study, {"a": "dog"})
    actual = pl.read_parquet(apply_to(study, "out.parquet"))
    assert actual["image"].to_list() == columns["image"]
    assert actual["label"].to_list() == ["dog", "cat", "dog"]
