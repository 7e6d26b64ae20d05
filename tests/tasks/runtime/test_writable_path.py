"""Descriptions of paths, and checks of output paths."""

import os

import polars as pl
import pytest
import tiny

from fastif import InputError
from storage import Store
from tasks.correction.correct_model import _read_option_table
from tasks.data.readers import read_source
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_files import read_review
from tasks.report.build import check_page_path
from tasks.results.export import write_export
from tasks.runtime.writable_path import check_outside
from tasks.study.errors import StudyError
from tasks.study.path_kinds import describe_path
from tasks.study.sections import TableSource
from tasks.study.study import load_study


@pytest.fixture
def strange(tmp_path):
    """Descriptions, by name, of paths that are no regular files."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "dangling.csv").symlink_to("nothing.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "t.csv").write_text("id,text,label\n")
    return {
        "pipe.csv": "a pipe",
        "loop.csv": "a loop of symbolic links",
        "dangling.csv": "a broken symbolic link",
        "zero.csv": "a device",
        "folder.csv": "a folder",
        "tt.csv": "no such file",
    }


def test_paths_that_are_no_files_are_described(tmp_path, strange):
    for name, what in strange.items():
        source = TableSource(table=name, text=("text",), label="label")
        with pytest.raises(StudyError) as caught:
            read_source(source, ["text"], tmp_path, "train")
        (problem,) = caught.value.problems
        assert problem.got == what
        assert ("did you mean" in problem.remedy) == (name == "tt.csv")
        with pytest.raises(StudyError, match=what):
            read_review(tmp_path / name)
        with pytest.raises(StudyError, match=what):
            load_study(tmp_path / name)
    assert describe_path(tmp_path / "t.csv") == ""
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(InputError, match="a pipe"):
        check_page_path(str(tmp_path / "page.html"))


def test_no_output_is_written_into_a_store(tmp_path, monkeypatch):
    store = tmp_path / "store"
    (store / "tables").mkdir(parents=True)
    (tmp_path / "link").symlink_to("store")
    monkeypatch.chdir(tmp_path)
    for path in ("store", "store/x.csv", "store/tables/x", "link/x.csv", "a/../store/x"):
        with pytest.raises(InputError, match="outside the store"):
            check_outside(store, tmp_path / path)
        with pytest.raises(InputError, match="outside the store"):
            check_outside(store, tmp_path.joinpath(path).relative_to(tmp_path))
    for path in ("x.csv", "store.csv", "stored/x.csv"):
        check_outside(store, tmp_path / path)


def test_an_invalid_selection_is_refused_by_its_option(tmp_path):
    result = MislabelResult(pl.DataFrame({"id": ["a", "b"], "rank": [0, 1]}), {})
    store = Store.open(tmp_path / "store", "tiny")
    (tmp_path / "n.csv").write_text("x\n1\n")
    (tmp_path / "n.txt").write_text("id\na\n")
    (tmp_path / "n.parquet").write_text("no table")
    (tmp_path / "good.csv").write_text("id\nb\n")
    got = {"n.csv": "columns x", "n.txt": ".txt", "none.csv": "no such file", "n.parquet": ""}
    for name, words in got.items():
        with pytest.raises(InputError, match="column id") as caught:
            write_export(store, None, "mislabels", tmp_path / "o.csv", tmp_path / name, result)
        assert words in caught.value.got
        assert "Error" not in caught.value.got
    only = tmp_path / "good.csv"
    assert write_export(store, None, "mislabels", tmp_path / "o.csv", only, result).rows == 1
    with pytest.raises(InputError, match="outside the store"):
        write_export(store, None, "mislabels", tmp_path / "store" / "o.csv", None, result)


def test_a_table_of_an_option_is_refused_by_the_name_of_the_option(tmp_path):
    study = load_study(tiny.write_study(tmp_path))
    options = ((study.queries, "--anchors"), (study.train, "--from"))
    for source, option in options:
        with pytest.raises(StudyError) as caught:
            _read_option_table(study, source, tmp_path / "nofile.csv", option)
        (problem,) = caught.value.problems
        assert problem.where == option
        assert "study file" not in problem.remedy


def test_a_missing_kind_is_refused_with_the_recommended_value(tmp_path):
    study = tiny.write_study(tmp_path, candidates={"check": 8})
    with pytest.raises(StudyError, match='write "auto"'):
        load_study(study)


@pytest.mark.parametrize("above", [0, 1, 7])
def test_a_key_that_a_row_has_twice_is_refused(tmp_path, above):
    good = '{"id": "a", "text": "x", "label": "neg"}\n'
    twice = '{"id": "a", "text": "x", "label": "neg", "label": "pos"}\n'
    (tmp_path / "t.jsonl").write_text(good * above + twice + good)
    source = TableSource(table="t.jsonl", text=("text",), label="label")
    with pytest.raises(StudyError, match=f'line {above + 1}: duplicate key "label"'):
        read_source(source, ["text", "label"], tmp_path, "train")
