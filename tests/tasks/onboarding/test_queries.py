"""Queries that the predictions contradict, and rows of blank labels."""

import polars as pl
import pytest
from made_tables import infer, train_classifier

BLANK = pl.when(pl.int_range(pl.len()) % 9 == 0).then(pl.lit(" ")).otherwise(pl.col("label"))


@pytest.fixture(scope="module")
def binary(rows, tmp_path_factory):
    """Classifier of the label red, coded 1."""
    coded = code(rows).with_columns(pl.col("label").cast(pl.String))
    return train_classifier(tmp_path_factory.mktemp("m") / "m", coded, ["0", "1"])


def code(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the label 1 for red, 0 for green."""
    rows = rows.filter(pl.col("label") != "blue")
    return rows.with_columns(label=(pl.col("label") == "red").cast(pl.Int8))


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({}, ""),
        (
            {"label": 1 - pl.col("label")},
            "0 % of 32 sampled queries are predicted correctly, 100 %",
        ),
        ({"text": pl.col("second")}, "sampled queries are predicted correctly, but"),
    ],
)
def test_queries_that_the_predictions_contradict_are_marked(
    rows, query_rows, binary, tmp_path, change, doubt
):
    code(rows).write_csv(tmp_path / "t.csv")
    code(query_rows).with_columns(**change).write_csv(tmp_path / "q.csv")
    content = infer(binary, tmp_path / "t.csv", tmp_path / "q.csv", text=["text"]).queries.content
    assert doubt in content.reasons["label"].doubt
    assert content.reasons["label"].is_open == bool(doubt)


def test_queries_of_a_single_label_are_not_doubted(rows, query_rows, binary, tmp_path):
    code(rows).write_csv(tmp_path / "t.csv")
    code(query_rows).filter(pl.col("label") == 1).write_csv(tmp_path / "q.csv")
    proposal = infer(binary, tmp_path / "t.csv", tmp_path / "q.csv", label=["label"])
    assert not proposal.queries.content.reasons["label"].is_open


def test_blank_labels_are_no_labels_of_the_model(rows, query_rows, classifier, tmp_path):
    rows.with_columns(label=BLANK).write_parquet(tmp_path / "t.parquet")
    query_rows.with_columns(label=BLANK).write_parquet(tmp_path / "q.parquet")
    proposal = infer(classifier, tmp_path / "t.parquet", tmp_path / "q.parquet")
    assert proposal.order.labels == ("blue", "red", "green")
    unnamed = {"id": "c1", "text": "c2", "second": "c3", "label": "c4"}
    rows.with_columns(label=BLANK).select(*unnamed).rename(unnamed).write_csv(tmp_path / "u.csv")
    content = infer(classifier, tmp_path / "u.csv").train.content
    assert (content.text, content.label) == (("c2",), "c4")
