"""Export for review and import of annotations, by the commands."""

import json

import polars as pl
import pytest
import tiny
from command_line import invoke as run
from noisy_study import fill_in, run_search

from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


@pytest.mark.long
def test_a_label_studio_export_can_be_imported(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "tasks.json"
    done = run("review", "export", "--study", searched, "--out", out, "--budget", 3)
    assert "<Choices" in done.output
    tasks = json.loads(out.read_text())
    assert len(tasks) == 3
    for task in tasks:
        result = task["predictions"][0]["result"]
        task["annotations"] = [{"completed_by": 7, "result": result}]
    out.write_text(json.dumps(tasks))
    assert run("review", "import", out, "--study", searched).exit_code == 0
    settled = read_annotations(open_existing_store(load_study(searched))).agreed
    assert sorted(settled.values()) == sorted(t["data"]["suggested"] for t in tasks)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"id": ["row-1"], "right_label": ["posh"]}, 'got:      "posh"'),
        ({"id": ["nobody"], "right_label": ["pos"]}, 'got:      "nobody"'),
        ({"id": ["row-1"], "right_label": [""]}, "one label or more"),
        ({"name": ["row-1"], "label": ["pos"]}, "id and right_label"),
    ],
)
def test_invalid_annotations_are_refused_and_nothing_is_stored(searched, tmp_path, rows, words):
    run_search(searched)
    path = tmp_path / "verdicts.csv"
    pl.DataFrame(rows).write_csv(path)
    done = run("review", "import", path, "--study", searched)
    assert done.exit_code == 2
    assert words in done.output
    assert not read_annotations(open_existing_store(load_study(searched))).agreed


@pytest.mark.parametrize("name", ["missing.csv", "broken.json", "table.xlsx"])
def test_files_without_annotations_are_refused(searched, tmp_path, name):
    run_search(searched)
    if name == "broken.json":
        (tmp_path / name).write_text("{")
    assert run("review", "import", tmp_path / name, "--study", searched).exit_code == 2


@pytest.mark.long
def test_an_export_never_overwrites_and_needs_a_detection(noisy, tmp_path):
    out = tmp_path / "review.csv"
    assert run("review", "export", "--study", noisy, "--out", out).exit_code == 2
    run_search(noisy)
    out.write_text("verdicts of a week")
    assert run("review", "export", "--study", noisy, "--out", out).exit_code == 2
    assert out.read_text() == "verdicts of a week"
    assert run("review", "export", "--study", noisy, "--out", tmp_path / "x.doc").exit_code == 2


@pytest.mark.long
def test_a_restored_table_has_its_own_review(searched, tmp_path):
    """A table, then more rows, then the first table again."""
    run_search(searched)
    before = (searched.parent / "train.csv").read_bytes()
    rows = tiny.rows_of(searched.parent / "train.csv")
    more = {**rows[0], "id": "new", "text": "the very slow and dull plot was not a film"}
    tiny.write_rows(searched.parent / "train.csv", [*rows, more])
    unsearched = run("review", "export", "--study", searched, "--out", tmp_path / "no.csv")
    assert unsearched.exit_code == 2
    assert "Run `fastif mislabels` first" in " ".join(unsearched.output.split())
    run_search(searched)
    (searched.parent / "train.csv").write_bytes(before)
    out = tmp_path / "review.csv"
    assert (
        run("review", "export", "--study", searched, "--out", out, "--budget", 200).exit_code == 0
    )
    assert "new" not in pl.read_csv(out)["id"].to_list()
    table = tmp_path / "table.csv"
    assert run("export", "mislabels", "--study", searched, "--out", table).exit_code == 0
    assert "new" not in pl.read_csv(table)["id"].to_list()
    run_search(searched)  # cached; the last request is the newest
    assert len(read_latest_result(open_existing_store(load_study(searched))).table) == 120


@pytest.mark.long
def test_an_edited_row_is_refused_at_the_import(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", searched, "--out", out, "--budget", 20)
    rows = fill_in(out, lambda row: row["label"])
    table = tiny.rows_of(searched.parent / "train.csv")
    edited = rows[0]["id"]
    for row in table:
        row["text"] += " not" if row["id"] == edited else ""
    tiny.write_rows(searched.parent / "train.csv", table)
    done = run("review", "import", out, "--study", searched)
    assert done.exit_code == 0, done.output
    assert f'id "{edited}"' in done.output
    assert "another text under this id" in " ".join(done.output.split())
    looked = run_search(searched).table.filter(pl.col("reviewed").is_not_null())
    assert edited not in looked["id"].to_list()
    assert len(looked) >= 19


def test_label_studio_preselects_probable_suggestions_but_none_in_a_sample(searched, tmp_path):
    ranking = run_search(searched).table
    every, sample = tmp_path / "every.json", tmp_path / "sample.json"
    run("review", "export", "--study", searched, "--out", every, "--budget", 120)
    run("review", "export", "--study", searched, "--out", sample, "--random", 60)
    likelier = ranking.filter(
        pl.col("probability") * pl.col("confidence") > 1 - pl.col("probability")
    )
    ticked = [t["data"]["id"] for t in json.loads(every.read_text()) if "predictions" in t]
    assert 0 < len(ticked) < 60
    assert set(ticked) <= set(likelier["id"])
    assert not any("predictions" in task for task in json.loads(sample.read_text()))
