"""Effects of imported annotations on the next detection."""

import os

import polars as pl
import pytest
import tiny
from command_line import invoke as run
from noisy_study import BASE, WRONG, fill_in, run_search, select_flipped

from tasks.data.inputs import read_inputs
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.detection_plan import read_detection_plan
from tasks.mislabels.label_words import NONE
from tasks.mislabels.results import read_current_result
from tasks.mislabels.stored_samples import read_samples
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def test_annotations_train_the_next_detection(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "review.csv"
    exported = run("review", "export", "--study", searched, "--out", out, "--budget", "20")
    assert exported.exit_code == 0
    wrong = {f"row-{i}" for i in range(WRONG)}
    rows = fill_in(out, lambda row: row["suggested"] if row["id"] in wrong else row["label"])
    assert len(rows) == 20
    done = run("review", "import", out, "--study", searched)
    assert done.exit_code == 0, done.output
    result = run_search(searched)
    looked = result.table.filter(pl.col("reviewed").is_not_null())
    assert len(looked) >= 20
    assert result.facts["reviewed"]["wrong"] == WRONG
    assert looked["rank"].min() == len(result.table) - len(looked)
    assert (select_flipped(result.table)["probability"] == 1).all()
    assert "of them wrong" in run("mislabels", searched).output
    again = tmp_path / "again.csv"
    run("review", "export", "--study", searched, "--out", again, "--budget", "20")
    assert not set(pl.read_csv(again)["id"]) & {row["id"] for row in rows}


@pytest.mark.long
def test_a_later_night_exports_nothing_where_nothing_is_left(searched, tmp_path):
    """First without suspicious rows, then without unreviewed ones; no file, sample or advice."""
    store = open_existing_store(load_study(searched))
    labels = read_current_result(store, read_inputs(searched)).table
    right = {f"row-{i}": tiny.LABELS[i % 2 == 0] for i in range(len(labels))}

    def annotate(name, *options):
        out = tmp_path / name
        done = run("review", "export", "--study", searched, "--out", out, *options)
        assert done.exit_code == 0, done.output
        rows = fill_in(out, lambda row: right[row["id"]])
        assert run("review", "import", out, "--study", searched).exit_code == 0
        return {row["id"] for row in rows}

    first = annotate("first.csv")
    assert {f"row-{i}" for i in range(WRONG)} <= first
    assert len(first) < 20
    out = tmp_path / "second.csv"
    for search in (lambda _: None, run_search):  # before and after the next detection
        search(searched)
        done = run("review", "export", "--study", searched, "--out", out)
        assert done.exit_code == 2
        assert "--random 100" in done.output
        assert not out.exists()
    assert "review export --random 100 --out" in run("mislabels", searched).output
    rest = annotate("rest.csv", "--budget", "1000")
    assert not rest & first
    for search in (lambda _: None, run_search):
        search(searched)
        for options in ((), ("--budget", "5"), ("--random", "5")):
            done = run("review", "export", "--study", searched, "--out", out, *options)
            assert done.exit_code == 2, options
            assert "got annotations of every row" in " ".join(done.output.split())
            assert "--random" not in done.output
            assert not out.exists()
    assert not read_samples(store)
    assert "export mislabels --out" in run("mislabels", searched).output


@pytest.mark.long
def test_near_duplicates_are_one_decision(noisy, tmp_path):
    rows = tiny.rows_of(noisy.parent / "train.csv")
    twin = {**rows[0], "id": "twin", "text": rows[0]["text"].upper() + "!"}
    tiny.write_rows(noisy.parent / "train.csv", [*rows, twin])
    run_search(noisy)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", noisy, "--out", out)
    exported = fill_in(out, lambda row: row["suggested"] if row["id"] in ("row-0", "twin") else "")
    assert len({"row-0", "twin"} & {row["id"] for row in exported}) == 1
    run("review", "import", out, "--study", noisy)
    reviewed = run_search(noisy).table.filter(pl.col("reviewed").is_not_null())
    assert sorted(reviewed["id"]) == ["row-0", "twin"]


@pytest.mark.long
def test_conflicts_are_shown_and_not_used(searched, tmp_path):
    run_search(searched)
    for who, label in (("ann", "pos"), ("bob", "neg")):
        path = tmp_path / f"{who}.csv"
        pl.DataFrame({"id": ["row-1"], "right_label": [label], "reviewer": [who]}).write_csv(path)
        assert run("review", "import", path, "--study", searched).exit_code == 0
    shown = run("review", "conflicts", "--study", searched).output
    assert "ann: pos" in shown
    assert "bob: neg" in shown
    result = run_search(searched)
    assert result.table["reviewed"].null_count() == 120
    assert result.facts["reviewed"]["conflicts"] == 1
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"], "reviewer": ["bob"]}).write_csv(
        tmp_path / "later.csv"
    )
    run("review", "import", tmp_path / "later.csv", "--study", searched)
    assert run_search(searched).table.filter(pl.col("id") == "row-1")["reviewed"].to_list() == [
        "pos"
    ]


def test_annotations_are_never_removed_by_gc(searched, tmp_path):
    run_search(searched)
    path = tmp_path / "v.csv"
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    parts = searched.parent / "store" / "parts"
    for file in parts.rglob("*"):
        os.utime(file, (0, 0))
    done = run("gc", "--study", searched, "--parts-unused", 1)
    assert done.exit_code == 0, done.output
    assert not list(parts.glob("mislabels/*/*"))
    assert len(read_annotations(open_existing_store(load_study(searched))).agreed) == 1


@pytest.mark.long
def test_a_row_that_no_label_fits_is_recorded(searched, tmp_path):
    run_search(searched)
    path = tmp_path / "none.csv"
    pl.DataFrame({"id": ["row-7"], "right_label": [NONE]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    assert run_search(searched).table.filter(pl.col("id") == "row-7")["reviewed"].to_list() == [
        NONE
    ]


def test_the_cache_key_depends_on_the_annotations(searched, tmp_path):
    run_search(searched)
    before = read_detection_plan(searched).digest
    path = tmp_path / "v.csv"
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    assert read_detection_plan(searched).digest != before


@pytest.mark.long
def test_an_additional_class_keeps_annotations_and_detection(noisy, tmp_path):
    """A label is added in front; logits of the study's own training get a column."""
    judged = {"training": {**BASE, "epochs": 1}, "mislabels": {"budget": 20, "folds": 2}}
    tiny.write_study(noisy.parent, **judged)
    run_search(noisy)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", noisy, "--out", out, "--budget", 5)
    rows = fill_in(out, lambda row: "none" if row["id"] == "row-0" else row["suggested"])
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    before = read_annotations(open_existing_store(load_study(noisy))).agreed
    tiny.write_study(noisy.parent, **{**judged, "": {"labels": ["mixed", *tiny.LABELS]}})
    # The model itself has two classes, and takes no part in the detection.
    ranking = run_search(noisy).table
    looked = ranking.filter(pl.col("reviewed").is_not_null())
    expected = {row["id"]: row["right_label"] for row in rows}
    own = {row["id"]: row["reviewed"] for row in looked.iter_rows(named=True)}
    assert {name: own[name] for name in expected} == expected
    assert len(before) == len(looked)
