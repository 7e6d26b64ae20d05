"""Random audit samples: their annotations estimate the number of wrong labels."""

import json

import polars as pl
import pytest
import tiny
from command_line import invoke as run
from noisy_study import WRONG, fill_in, run_search

from tasks.mislabels.annotations import read_annotations
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def read_audit_sample(result):
    drawn = result.facts["drawn"]
    return drawn["rows"], drawn["wrong"], drawn["enough"]


@pytest.mark.long
def test_a_random_sample_estimates_the_errors(searched, tmp_path):
    """Twelve flips, and thirty wrong labels that the features predict: rows of `good` texts."""
    run_search(searched)
    out = tmp_path / "drawn.csv"
    done = run("review", "export", "--study", searched, "--out", out, "--random", 100)
    assert done.exit_code == 0, done.output
    again = tmp_path / "again.csv"
    run("review", "export", "--study", searched, "--out", again, "--random", 100)
    assert again.read_bytes() == out.read_bytes()
    wrong = {f"row-{i}" for i in range(WRONG)} | {f"row-{i}" for i in range(60, 120, 2)}
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    rows = fill_in(out, lambda row: other[row["label"]] if row["id"] in wrong else row["label"])
    exported_ids = {row["id"] for row in rows}
    assert len(exported_ids) == 100
    assert {row["drawn"] for row in rows} == {"true"}
    before = run_search(searched)
    assert before.facts["drawn"] is None
    assert before.facts["errors"] is None
    assert run("review", "import", out, "--study", searched).exit_code == 0
    result = run_search(searched)
    errors = result.facts["errors"]
    assert read_audit_sample(result) == (100, len(wrong & exported_ids), True)
    assert result.facts["drawn"]["population"] == 119  # two rows are exact duplicates
    assert result.facts["drawn"]["later"] == 0
    assert errors["low"] <= len(wrong) <= errors["high"]
    assert errors["low"] >= len(wrong & exported_ids)
    assert result.table["probability"].sum() == pytest.approx(errors["expected"], rel=0.1)
    assert result.table["probability"].sum() == pytest.approx(len(wrong), rel=0.1)
    unseen = result.table.filter(pl.col("reviewed").is_null())
    assert (unseen.sort("rank")["doubt"].diff().drop_nulls() <= 1e-6).all()
    shown = run("mislabels", searched).output
    assert "100 annotated rows" in shown
    assert "is unknown" not in shown
    third = tmp_path / "third.csv"
    run("review", "export", "--study", searched, "--out", third, "--random", 30)
    assert not set(pl.read_csv(third)["id"]) & exported_ids


@pytest.mark.long
def test_sampled_rows_count_after_their_correction(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "drawn.csv"
    run("review", "export", "--study", searched, "--out", out, "--random", 60)
    wrong = {f"row-{i}" for i in range(60, 120, 2)}
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    rows = fill_in(out, lambda row: other[row["label"]] if row["id"] in wrong else row["label"])
    run("review", "import", out, "--study", searched)
    whole = run_search(searched).facts["errors"]["expected"]
    corrected = {row["id"] for row in rows} & wrong
    table = tiny.rows_of(searched.parent / "train.csv")
    for row in table:
        row["label"] = other[row["label"]] if row["id"] in corrected else row["label"]
    tiny.write_rows(searched.parent / "train.csv", table)
    after = run_search(searched).facts
    assert after["drawn"]["wrong"] == len(corrected)
    assert after["drawn"]["later"] == 0  # corrected rows are known to be right
    assert after["errors"]["expected"] == pytest.approx(whole - len(corrected), rel=0.25)
    left = len(wrong - corrected)
    assert after["errors"]["low"] <= left <= after["errors"]["high"]


@pytest.mark.long
def test_near_duplicates_are_sampled_one_by_one(noisy, tmp_path):
    rows = tiny.rows_of(noisy.parent / "train.csv")
    twin = {**rows[0], "id": "twin", "text": rows[0]["text"].upper() + "!"}
    tiny.write_rows(noisy.parent / "train.csv", [*rows, twin])
    table = run_search(noisy).table
    assert len(set(table.filter(pl.col("id").is_in(["row-0", "twin"]))["cluster"])) == 1
    out = tmp_path / "drawn.csv"
    run("review", "export", "--study", noisy, "--out", out, "--random", 121)
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    fill_in(out, lambda row: other[row["label"]] if row["id"] == "row-0" else row["label"])
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    verdicts = read_annotations(open_existing_store(load_study(noisy)))
    # Exact duplicates have one digest.
    assert len(verdicts.audited) == len({(row["text"], row["label"]) for row in [*rows, twin]})
    errors = run_search(noisy).facts["errors"]
    exact = {"expected": 1.0, "low": 1.0, "high": 1.0}
    assert errors == {**exact, "counted": 121, "verdicts": len(verdicts.audited)}


@pytest.mark.long
def test_a_small_sample_yields_no_estimate(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "drawn.json"
    run("review", "export", "--study", searched, "--out", out, "--random", 5)
    done = json.loads(out.read_text())
    for job in done:
        value = {"choices": [job["data"]["label"]]}
        job["annotations"] = [{"result": [{"value": value}], "completed_by": 1}]
    out.write_text(json.dumps(done))
    assert run("review", "import", out, "--study", searched).exit_code == 0
    result = run_search(searched)
    assert read_audit_sample(result) == (5, 0, False)
    assert result.facts["errors"] is None
    assert "too few" in run("mislabels", searched).output


def test_a_random_sample_has_no_budget(noisy, tmp_path):
    out = tmp_path / "drawn.csv"
    done = run("review", "export", "--study", noisy, "--out", out, "--random", 5, "--budget", 5)
    assert done.exit_code == 2
    assert "--random" in done.output
    assert not out.exists()
