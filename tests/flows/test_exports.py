"""Tables of a store, written for other programs."""

import json

import polars as pl
import pytest
import tiny
from audited_runs import audited
from command_line import invoke as run

from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson", ".jsonl"])
def test_an_exported_table_is_that_of_the_store(finished, tmp_path, ending):
    to = tmp_path / f"scores{ending}"
    done = run("export", "scores", "--study", finished / "study.toml", "--out", to)
    assert done.exit_code == 0, done.output
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv}
    read = readers.get(ending, pl.read_ndjson)
    frame = read(to)
    store = open_existing_store(load_study(finished / "study.toml"))
    scores = store.scan("scores", store.find_latest().record.run).collect()
    assert frame["removal_effect"].to_list() == pytest.approx(scores["removal_effect"].to_list())
    assert {"query_id", "train_id", "query_label", "train_label"} <= set(frame.columns)
    again = run("export", "scores", "--study", finished / "study.toml", "--out", to)
    assert again.exit_code == 2
    assert "a new file" in again.output


def test_an_empty_table_of_totals_says_what_it_needs(finished, tmp_path):
    to = tmp_path / "totals.csv"
    done = run("export", "totals", "--study", finished / "study.toml", "--out", to)
    assert done.exit_code == 0, done.output
    assert "Wrote 0 rows" in done.output
    assert 'kind = "full"' in done.output


@pytest.mark.long
def test_mislabels_are_exported_with_the_groups_of_the_training_table(searched, tmp_path):
    rows = tiny.rows_of(searched / "train.csv")
    study = tiny.write_study(searched, train={**tiny.SECTIONS["train"], "groups": ["kind"]})
    option = ("--study", study)
    for name, words in {"all": ("export", "mislabels"), "review": ("review", "export")}.items():
        done = run(*words, *option, "--out", tmp_path / f"{name}.parquet")
        assert done.exit_code == 0, done.output
        table = pl.read_parquet(tmp_path / f"{name}.parquet")
        kinds = {row["id"]: row["kind"] for row in rows}
        assert table["group_kind"].to_list() == [kinds[name] for name in table["id"]]


def test_mislabels_are_exported_for_label_studio(searched, tmp_path):
    to = tmp_path / "tasks.json"
    done = run("export", "mislabels", "--study", searched / "study.toml", "--out", to)
    assert done.exit_code == 0, done.output
    tasks = json.loads(to.read_text())
    table = read_latest_result(open_existing_store(load_study(searched / "study.toml"))).table
    # A suggestion is ticked where it is likelier than the given label, and nowhere else.
    likely = pl.col("probability") * pl.col("confidence") > 1 - pl.col("probability")
    ticked = set(table.filter(likely)["id"])
    assert {task["data"]["id"] for task in tasks if "predictions" in task} == ticked
    assert all({"data"} <= set(task) <= {"data", "predictions"} for task in tasks)
    assert len(tasks) == len(table)


@pytest.mark.parametrize(("table", "name"), [("nothing", "a.csv"), ("scores", "a.xlsx")])
def test_invalid_exports_are_refused(finished, tmp_path, table, name):
    done = run("export", table, "--study", finished / "study.toml", "--out", tmp_path / name)
    assert done.exit_code == 2
    assert not (tmp_path / name).exists()


@pytest.mark.long
def test_exported_texts_are_no_formulas_in_a_spreadsheet(world, tmp_path):
    rows = tiny.rows_of(world / "train.csv")
    rows[0]["text"] = '=cmd|"/c calc"!A1'
    tiny.write_rows(world / "train.csv", rows)
    audited(world)
    done = run("export", "train", "--study", world / "study.toml", "--out", tmp_path / "train.csv")
    assert done.exit_code == 0, done.output
    assert pl.read_csv(tmp_path / "train.csv")["text"][0].startswith("'=")
    detect_mislabels.fn(str(world / "study.toml"))
    run("review", "export", "--study", world / "study.toml", "--out", tmp_path / "review.csv")
    texts = pl.read_csv(tmp_path / "review.csv")["text"].to_list()
    assert not [text for text in texts if text.startswith("=")]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_selection_is_exported_alone(searched, tmp_path, ending):
    """Like a selection of the report: rows by the column id; mislabels need no run."""
    names = sorted(row["id"] for row in tiny.rows_of(searched / "train.csv")[:2])
    ids = pl.DataFrame({"id": names, "right_label": [None, "pos"]})
    only = tmp_path / f"selection.{ending}"
    (ids.write_csv if ending == "csv" else ids.write_parquet)(only)
    common = ["--study", searched / "study.toml", "--only", only]
    done = run("export", "mislabels", *common, "--out", tmp_path / "some.parquet")
    assert done.exit_code == 0, done.output
    assert sorted(pl.read_parquet(tmp_path / "some.parquet")["id"]) == names
    done = run("export", "mislabels", *common, "--out", tmp_path / "some.json")
    assert len(json.loads((tmp_path / "some.json").read_text())) == 2


def test_selected_ids_that_no_longer_match_are_reported(searched, tmp_path):
    """A removed id, and an id of a row that has another text by now."""
    rows = tiny.rows_of(searched / "train.csv")
    only, to = tmp_path / "selection.csv", tmp_path / "some.parquet"
    chosen = {"id": [rows[0]["id"], rows[1]["id"], "gone"], "text": [rows[0]["text"], "other", "a"]}
    pl.DataFrame(chosen).write_csv(only)
    done = run(
        "export", "mislabels", "--study", searched / "study.toml", "--only", only, "--out", to
    )
    assert pl.read_parquet(to)["id"].to_list() == [rows[0]["id"]]
    assert '1 ids of the selection are not in the table: "gone"' in done.output
    assert f'rows with another text by now, which are skipped: "{rows[1]["id"]}"' in done.output


@pytest.mark.parametrize("content", [None, "id\nnobody\n", "name\nnobody\n"])
def test_a_selection_without_matching_rows_is_refused(searched, tmp_path, content):
    only = tmp_path / "selection.csv"
    if content is not None:
        only.write_text(content)
    to = tmp_path / "some.parquet"
    done = run(
        "export", "mislabels", "--study", searched / "study.toml", "--only", only, "--out", to
    )
    assert done.exit_code == 2
    assert "--only" in done.output
    assert not to.exists()
