"""Labels in the order of the model's outputs, by names and predictions."""

from dataclasses import replace

import polars as pl
import pytest
from made_tables import change_config, infer, train_classifier

from fastif import InputError
from tasks.onboarding.describe import list_warnings
from tasks.onboarding.propose import Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.study.errors import StudyError


def test_generic_outputs_are_ordered_by_the_predictions(rows, classifier, tmp_path):
    rows.write_parquet(tmp_path / "train.parquet")
    order = infer(classifier, tmp_path / "train.parquet").order
    assert order.labels == ("blue", "red", "green")
    assert order.accuracy > 0.9
    assert "the predictions" in order.basis


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (["green", "blue", "red"], {0: "Green", 1: "BLUE", 2: "red"}),
        (["red", "green", "blue"], {0: "red", 1: "green", 2: "blue"}),
    ],
    ids=["other case", "equal"],
)
def test_order_follows_the_names_of_the_model(rows, tmp_path, outputs, names):
    rows.write_parquet(tmp_path / "train.parquet")
    model = train_classifier(tmp_path / "model", rows, outputs, names=names)
    order = infer(model, tmp_path / "train.parquet").order
    assert order.labels == tuple(outputs)
    assert order.is_certain
    assert not order.warning


def test_names_that_the_predictions_contradict_are_reported(rows, tmp_path):
    rows.write_parquet(tmp_path / "train.parquet")
    names = {0: "red", 1: "green", 2: "blue"}
    model = train_classifier(tmp_path / "model", rows, ["green", "red", "blue"], names=names)
    order = infer(model, tmp_path / "train.parquet").order
    assert order.labels == ("red", "green", "blue"), "the study must agree with the model"
    assert not order.is_certain
    assert "contradict the labels' order" in order.warning


def test_untrained_model_is_reported_as_chance(rows, tmp_path):
    rows.write_parquet(tmp_path / "train.parquet")
    model = train_classifier(tmp_path / "model", rows, ["blue", "red", "green"], steps=0)
    order = infer(model, tmp_path / "train.parquet").order
    assert "no better than chance" in order.warning
    assert order.labels == ("blue", "green", "red"), "the alphabet, if nothing is known"
    assert order.alternatives
    assert {len(labels) for labels in order.alternatives} == {3}


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String, pl.Decimal(10, 2)])
def test_numbered_labels_are_names(rows, classifier, tmp_path, dtype):
    numbers = rows.with_columns(pl.col("label").replace_strict({"blue": 1, "red": 2, "green": 0}))
    numbers = numbers.with_columns(pl.col("label").cast(dtype))
    numbers.write_parquet(tmp_path / "train.parquet")
    order = infer(classifier, tmp_path / "train.parquet").order
    assert order.labels == ("1", "2", "0")


def test_more_labels_than_outputs_are_refused(rows, classifier, tmp_path):
    rows[:-1].vstack(rows[-1:].with_columns(label=pl.lit("-"))).write_csv(tmp_path / "t.csv")
    with pytest.raises((InputError, StudyError), match="label") as caught:
        infer(classifier, tmp_path / "t.csv", label=["label"])
    assert '"-"' in str(caught.value)


def test_labels_that_the_model_lacks_are_named(rows, classifier, tmp_path):
    """Not another column of three values is taken for the label."""
    unlabelled = rows.with_columns(pl.lit("-").alias("label")).head(3)
    rows.vstack(unlabelled).write_csv(tmp_path / "t.csv")
    with pytest.raises(StudyError, match='"-" \\(3 rows\\)'):
        infer(classifier, tmp_path / "t.csv")


def test_accurate_model_of_a_rare_label_is_not_called_chance(rows, tmp_path):
    rare = rows.filter((pl.col("label") != "blue") & (pl.col("label") != "red"))
    rare = pl.concat([rare, rows.filter(pl.col("label") == "red").head(5)])
    rare.write_parquet(tmp_path / "t.parquet")
    model = train_classifier(tmp_path / "model", rows, ["red", "green", "blue"])
    change_config(model, id2label={"0": "red", "1": "green", "2": "blue"}, label2id={})
    order = infer(model, tmp_path / "t.parquet").order
    assert order.labels == ("red", "green", "blue")
    assert not order.warning


def test_given_order_is_taken_and_checked(rows, classifier, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    request = Request(str(classifier), tmp_path / "t.csv", None, order=("red", "blue", "green"))
    order = propose_study(request, BestGuesses()).order
    assert order.labels == ("red", "blue", "green")
    assert "contradict" in order.warning
    with pytest.raises(InputError, match="--labels-order"):
        propose_study(replace(request, order=("red", "blue")), BestGuesses())


def test_whole_numbers_are_the_same_labels_in_both_tables(rows, query_rows, classifier, tmp_path):
    """The training table was written by pandas with floats, the queries with integers."""
    numbers = pl.col("label").replace_strict({"blue": 1, "red": 2, "green": 0})
    rows.with_columns(label=numbers.cast(pl.Float64)).write_csv(tmp_path / "t.csv")
    query_rows.with_columns(label=numbers).write_parquet(tmp_path / "q.parquet")
    proposal = infer(classifier, tmp_path / "t.csv", tmp_path / "q.parquet")
    assert proposal.order.labels == ("1", "2", "0")


@pytest.mark.parametrize("spelling", [pl.col("label") + " ", pl.col("label").str.to_titlecase()])
def test_two_spellings_of_a_label_are_reported(rows, classifier, tmp_path, spelling):
    odd = pl.when(pl.int_range(pl.len()) % 7 == 0).then(spelling).otherwise(pl.col("label"))
    rows.with_columns(label=odd).write_csv(tmp_path / "t.csv")
    order = infer(None, tmp_path / "t.csv").order
    assert not order.is_certain
    assert '"red" and "red ' in order.doubt or '"Red" and "red"' in order.doubt
    with pytest.raises(StudyError, match="look like the same label: write it alike"):
        infer(classifier, tmp_path / "t.csv")


def test_spellings_that_differ_between_the_tables_are_refused(
    rows, query_rows, classifier, tmp_path
):
    rows.write_csv(tmp_path / "t.csv")
    query_rows.with_columns(pl.col("label").str.to_uppercase()).write_csv(tmp_path / "q.csv")
    for model in (None, classifier):
        with pytest.raises(StudyError, match="look like the same label") as caught:
            infer(model, tmp_path / "t.csv", tmp_path / "q.csv")
        assert [problem.where for problem in caught.value.problems] == ["[queries] label"]


def test_labels_of_the_queries_alone_are_reported_or_refused(
    rows, query_rows, classifier, tmp_path
):
    rows.write_csv(tmp_path / "t.csv")
    odd = pl.when(pl.int_range(pl.len()) < 9).then(pl.lit("grey")).otherwise(pl.col("label"))
    query_rows.with_columns(label=odd).write_csv(tmp_path / "q.csv")
    order = infer(None, tmp_path / "t.csv", tmp_path / "q.csv").order
    assert order.doubt == 'no training row has "grey"'
    with pytest.raises(StudyError, match='label with "grey"') as caught:
        infer(classifier, tmp_path / "t.csv", tmp_path / "q.csv")
    assert [problem.where for problem in caught.value.problems] == ["[queries] label"]
    query_rows.drop("label").write_csv(tmp_path / "q.csv")
    with pytest.raises(StudyError, match=r"queries.* label|source with"):
        infer(None, tmp_path / "t.csv", tmp_path / "q.csv")
    unlabelled = infer(classifier, tmp_path / "t.csv", tmp_path / "q.csv")
    assert (unlabelled.queries.content.label, unlabelled.queries.labels) == ("", {})


def test_a_label_that_may_be_a_missing_value_is_reported(rows, tmp_path):
    odd = pl.when(pl.int_range(pl.len()) < 9).then(pl.lit("N/A")).otherwise(pl.col("label"))
    rows.with_columns(label=odd).write_csv(tmp_path / "t.csv")
    assert '"N/A" may mean' in infer(None, tmp_path / "t.csv").order.doubt
    outputs, names = ["red", "green", "blue", "N/A"], {0: "red", 1: "green", 2: "blue", 3: "n/a"}
    model = train_classifier(tmp_path / "m", rows.with_columns(label=odd), outputs, names=names)
    assert infer(model, tmp_path / "t.csv").order.is_certain


def test_labels_of_the_model_without_rows_are_reported(rows, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    model = train_classifier(tmp_path / "m", rows, ["blue", "red", "green", "grey"])
    proposal = infer(model, tmp_path / "t.csv")
    assert proposal.order.labels == ("blue", "red", "green", "LABEL_3")
    assert "No row has the label LABEL_3, which the model predicts." in list_warnings(proposal)
    model = train_classifier(tmp_path / "n", rows, ["blue", "red", "green"])
    assert not [
        text for text in list_warnings(infer(model, tmp_path / "t.csv")) if "No row" in text
    ]


def test_signed_numbers_are_labels(rows, tmp_path):
    signs = pl.col("label").replace_strict({"blue": "-1", "red": "+1", "green": "+1"})
    rows.with_columns(label=signs, waited=pl.duration(days=1)).write_parquet(tmp_path / "t.parquet")
    proposal = infer(None, tmp_path / "t.parquet")
    assert proposal.train.content.label == "label"
    assert {*proposal.order.labels} == {"+1", "-1"}
