"""A text with two labels is one finding, which one annotation decides, also on later nights."""

import polars as pl
import pytest
import tiny
from command_line import invoke as run
from noisy_study import fill_in, run_search

from tasks.mislabels.contradictions import count_contradictions


def add_twins(study, ids, suffix="twin"):
    """Add a second copy of rows, with the other label and another spelling of spaces."""
    rows = tiny.rows_of(study.parent / "train.csv")
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    twins = [
        {**row, "id": f"{row['id']}-{suffix}", "text": f" {row['text']}  ",
         "label": other[row["label"]]}
        for row in rows if row["id"] in ids
    ]  # fmt: skip
    tiny.write_rows(study.parent / "train.csv", [*rows, *twins])


def read_rows(table, name):
    return {row["id"]: row for row in table.iter_rows(named=True) if row["id"].startswith(name)}


@pytest.mark.long
def test_a_text_with_two_labels_is_one_finding(noisy, tmp_path):
    add_twins(noisy, {"row-50"})
    table = run_search(noisy).table
    first, twin = read_rows(table, "row-50").values()
    assert first["cluster"] == twin["cluster"]
    assert table["id"][first["conflicting"]] == twin["id"]
    assert table["id"][twin["conflicting"]] == first["id"]
    assert abs(first["probability"] + twin["probability"] - 1) < 1e-3
    assert twin["probability"] > 0.9  # its label is not that of its words
    assert (first["suggested"], twin["suggested"]) == (twin["label"], first["label"])
    shown = " ".join(run("mislabels", noisy, "--json").output.split())
    assert shown
    out = tmp_path / "review.csv"
    assert run("review", "export", "--study", noisy, "--out", out, "--budget", 121).exit_code == 0
    exported = pl.read_csv(out).filter(pl.col("id").str.starts_with("row-50"))
    assert exported["contradicts"].to_list() == [f"{first['label']}: row {first['id']}"]
    fill_in(out, lambda row: first["label"] if row["id"] == twin["id"] else "")
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    settled = run_search(noisy).table
    assert {row["reviewed"] for row in read_rows(settled, "row-50").values()} == {first["label"]}
    assert count_contradictions(settled).contents == 0


@pytest.mark.long
def test_a_copy_that_comes_later_is_decided_by_the_annotation(noisy, tmp_path):
    """The second night has a contradicting copy of a reviewed text."""
    run_search(noisy)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", noisy, "--out", out, "--budget", 121)
    rows = {row["id"]: row for row in tiny.rows_of(noisy.parent / "train.csv")}
    fill_in(out, lambda row: rows["row-50"]["label"] if row["id"] == "row-50" else "")
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    add_twins(noisy, {"row-50"}, "later")
    table = run_search(noisy).table
    later = read_rows(table, "row-50")["row-50-later"]
    assert later["reviewed"] == rows["row-50"]["label"]
    assert count_contradictions(table).contents == 0
