"""Wrong targets: verdicts, keys and tables that are refused by name."""

import polars as pl
import pytest

from tests.flows.mislabels.wrong_target_tables import ROWS, read_table, run, write_made


@pytest.mark.parametrize(
    ("form", "word"),
    [("tags", "2"), ("tags", "warm"), ("number", "nan"), ("number", "1,5"), ("number", "many")],
)
def test_unreadable_verdicts_are_refused_by_row(tmp_path, form, word):
    study, _, _ = write_made(tmp_path, form)
    read_table(study)
    review = tmp_path / "review.csv"
    assert run("review", "export", "-o", review, study, "--budget", 1).exit_code == 0
    row = pl.read_csv(review, infer_schema=False).with_columns(right_label=pl.lit(word))
    row.write_csv(review)
    refused = run("review", "import", review, study)
    assert refused.exit_code == 2
    assert "right_label" in refused.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mislabels", "--validate", "1"), "--validate"),
        (("review", "export", "--order", "gain", "-o", "a.csv"), "--order gain"),
        (("review", "export", "-o", "a.json"), ".csv or .parquet"),
        (("review", "apply", "--drop-duplicates"), "--drop-duplicates"),
        (("review", "apply"), "annotations"),
        (("audit",), "labels-only"),
    ],
)
def test_what_other_targets_lack_is_refused_by_name(tmp_path, monkeypatch, words, message):
    study, _, _ = write_made(tmp_path, "number")
    monkeypatch.chdir(tmp_path)
    read_table(study)
    refused = run(*words, study)
    assert refused.exit_code == 2
    assert message in refused.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[store]", "[mislabels]\njudges = ['other']\n[store]"), "judges"),
        (('target = "number"', 'target = "soft-label"\nlabels = ["a", "b"]'), "target"),
    ],
)
def test_keys_of_classes_are_refused_by_name(tmp_path, change, message):
    study, _, _ = write_made(tmp_path, "number")
    study.write_text(study.read_text().replace(*change))
    refused = run("mislabels", study)
    assert refused.exit_code == 2
    assert message in refused.output


def test_equal_targets_are_refused(tmp_path):
    study, _, _ = write_made(tmp_path, "number")
    rows = pl.read_csv(tmp_path / "rows.csv").with_columns(price=pl.lit(3.5))
    rows.write_csv(tmp_path / "rows.csv")
    refused = run("mislabels", study)
    assert refused.exit_code == 2
    assert "a table with rows of different targets" in refused.output


def test_a_label_that_no_row_has_is_told_and_not_searched(tmp_path):
    study, _, _ = write_made(tmp_path, "tags")
    study.write_text(study.read_text().replace('"cold"]', '"cold", "long"]'))
    shown = run("mislabels", study)
    assert shown.exit_code == 0
    assert 'Not searched: "long"' in shown.output
    assert read_table(study).filter(pl.col("name") == "long")["score"].null_count() == ROWS
