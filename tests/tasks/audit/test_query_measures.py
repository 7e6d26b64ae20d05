"""Queries without labels, and measures other than the loss, from the study to the summary."""

import json

import polars as pl
import pytest
import tiny

from fastif.losses.query_measure import HUBER_LOSS, QUERY_MEASURES, SQUARED_ERROR
from storage.example_schemas import fill_measure
from tasks.audit.in_process import audit_in_process
from tasks.notebook.result import AuditResult
from tasks.results.query_measure import MEASURE_WORDS
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import render_summary_markdown
from tasks.run.spec import plan_run
from tasks.study.errors import StudyError
from tests.tasks.audit.rendered import render

FULL = {"kind": "full", "keep": 60, "totals": True}
SETTINGS = {"candidates": FULL, "solver": {"kind": "direct"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measures") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(world):
    return _audit(world, "labelled")


@pytest.fixture(scope="module")
def unlabelled(world):
    return _audit(world, "unlabelled", queries={"label": None})


def _audit(world, name, **changes):
    study = tiny.write_study(world, **{**SETTINGS, "store": {"path": name}, **changes})
    return audit_in_process(plan_run(study))


def _write_queries(world, name, labels):
    """The queries of the study with other labels; None for a row without."""
    rows = pl.read_csv(world / "queries.csv")
    rows.with_columns(label=pl.Series(labels, dtype=pl.String)).write_csv(world / name)
    return name


def _queries(result):
    store, run = result
    return store.scan("queries", run).collect().sort("query").drop("run", strict=False)


def _effects(result):
    return tiny.scores_by_id(*result).drop("run", "rank", strict=False)


def test_effects_are_those_on_the_loss_at_the_predicted_label(world, unlabelled):
    """Labels that equal the predictions make the same study, answered by the usual loss."""
    predicted = _queries(unlabelled)["prediction"].to_list()
    name = _write_queries(world, "predicted.csv", predicted)
    expected = _audit(world, "predicted", queries={"table": name})
    assert _effects(unlabelled).equals(_effects(expected))
    losses = _queries(expected)["loss"]
    assert (-_queries(unlabelled)["measure_value"]).equals(losses.alias("measure_value"))


def test_queries_without_labels_are_neither_right_nor_wrong(unlabelled):
    queries = _queries(unlabelled)
    nothing = queries.select(pl.col("label", "correct", "loss").null_count()).row(0)
    assert nothing == (tiny.QUERIES,) * 3
    assert set(queries["measure"]) == {"log-probability"}
    store, run = unlabelled
    assert store.scan("runs", run).collect()["accuracy"].to_list() == [None]
    assert store.scan("totals", run).collect()["correct"].unique().to_list() == [None]


def test_half_the_labels_give_each_query_its_own_measure(world, labelled, unlabelled):
    known = _queries(labelled)["label"].to_list()
    labels = [label if place % 2 else None for place, label in enumerate(known)]
    half = _audit(world, "half", queries={"table": _write_queries(world, "half.csv", labels)})
    queries = _queries(half)
    assert queries["measure"].to_list() == [
        "loss" if place % 2 else "log-probability" for place in range(tiny.QUERIES)
    ]
    odd = pl.col("query_id").is_in(queries.filter(pl.col("query") % 2 == 1)["id"].implode())
    parts = [_effects(labelled).filter(odd), _effects(unlabelled).filter(~odd)]
    expected = pl.concat(parts).sort("query_id", "train_id")
    assert _effects(half).sort("query_id", "train_id").equals(expected)
    summary = read_summary(*half, world / "study.toml")
    assert summary.accuracy.endswith("of the 8 queries with labels (17 in all)")
    assert "loss (8 queries)" in summary.measures


@pytest.mark.default_cases("entropy")
@pytest.mark.parametrize("measure", ["log-probability", "margin", "entropy"])
def test_a_measure_of_the_prediction_does_not_depend_on_labels(world, unlabelled, measure):
    results = [
        _audit(world, f"{measure}-{label}", queries={"measure": measure, "label": label})
        for label in ("label", None)
    ]
    assert results[0][1] != results[1][1]
    first, second = map(_effects, results)
    assert first.equals(second)
    # of two classes, effects on all measures of one target differ by a factor of the query
    loss = _effects(unlabelled).select("query_id", "train_id", loss="removal_effect")
    ratios = first.join(loss, on=["query_id", "train_id"]).filter(pl.col("loss").abs() > 1e-4)
    ratio = (pl.col("removal_effect") / pl.col("loss")).cast(pl.Float64)
    spread = ratios.group_by("query_id").agg(ratio.min(), high=ratio.max(), rows=pl.len())
    assert len(spread) == tiny.QUERIES
    assert spread["rows"].min() > 10
    assert ((spread["high"] - spread["removal_effect"]) < 1e-3 * spread["high"].abs()).all()
    assert set(_queries(results[0])["measure"]) == {measure}
    assert _queries(results[0])["correct"].null_count() == 0


def test_the_choice_of_targets_is_stored_before_the_first_shard(world, unlabelled):
    store, _ = unlabelled
    (stored,) = store.find_artifacts("predictions").values()
    names = ["neg", "pos"]
    predicted = [names.index(label) for label in _queries(unlabelled)["prediction"]]
    assert json.loads((stored / "predictions.json").read_text()) == predicted


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"measure": "loss", "label": None}, "[queries] measure"),
        ({"trusted": True, "label": None}, "[queries] trusted"),
        ({"measure": "certainty"}, "measure"),
    ],
)
def test_what_needs_labels_is_refused_without_them(world, changes, place):
    study = tiny.write_study(world, queries=changes)
    with pytest.raises(StudyError) as error:
        plan_run(study)
    assert place in str(error.value)


def test_training_rows_need_labels(world):
    rows = pl.read_csv(world / "train.csv").with_columns(
        label=pl.when(pl.int_range(pl.len()) > 0).then("label")
    )
    rows.write_csv(world / "gap.csv")
    with pytest.raises(StudyError, match="a label in every row"):
        plan_run(tiny.write_study(world, train={"table": "gap.csv"}))


def test_terminal_and_markdown_state_measure_and_sign(world, unlabelled):
    summary = read_summary(*unlabelled, world / "study.toml")
    text = render(summary)
    assert "unknown: none of the 17 queries has a label" in text
    assert "log probability of the predicted label, effects in nats" in text
    assert "predicted, without a label" in text
    assert "without this row the predicted label would be less probable" in text
    assert "wrongly predicted" not in text
    assert "None" not in text
    assert "| explained | log probability" in render_summary_markdown(summary)


def test_a_notebook_sums_harm_over_all_queries_if_none_has_a_label(world, unlabelled):
    store, run = unlabelled
    rows = AuditResult(world / "study.toml", run, store).harmful(3)
    effects = store.scan("scores", run).filter(pl.col("removal_effect") < 0).collect()
    summed = effects.group_by("train").agg(pl.col("removal_effect").cast(pl.Float64).sum())
    expected = summed["removal_effect"].sort().head(3)
    assert rows["harmful_effect"].to_list() == pytest.approx(expected.to_list())


def test_each_measure_has_words_with_its_unit():
    assert {name: words.unit for name, words in MEASURE_WORDS.items()} == {
        measure.name: measure.unit
        for measure in (*QUERY_MEASURES.values(), SQUARED_ERROR, HUBER_LOSS)
    }


def test_stores_of_earlier_versions_explain_the_loss(labelled):
    queries = _queries(labelled)
    earlier = queries.drop("measure", "measure_value").lazy()
    assert fill_measure(earlier).collect().select(queries.columns).equals(queries)
