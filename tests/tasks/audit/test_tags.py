"""Audits of tagged sentences, against dense double precision matrices."""

import math

import polars as pl
import pytest
import tag_world
import tiny
import torch
from tag_world import TAGS, Truth, read_effects, read_rows

from tasks.audit.in_process import audit_in_process
from tasks.audit.prepare import factor_curvature
from tasks.audit.single_query import QueryRequest, attribute_query, solve_repeat
from tasks.planning.start_run import start_run
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import render_summary_markdown
from tasks.run.spec import plan_run
from tests.tasks.audit.rendered import render

SETTINGS = {
    "plain": ({}, {}, "first"),
    "last layer": ({"parameters": {"attributed": "last:1"}}, {}, "first"),
    "all sub-words": ({"model": {"subwords": "all"}}, {}, "all"),
    "smoothed": (
        {"loss": {"label_smoothing": 0.1, "class_weights": [0.5, 1.0, 2.0, 1.0, 1.0]}},
        {"smoothing": 0.1, "weights": [0.5, 1.0, 2.0, 1.0, 1.0]},
        "first",
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "made"
    tag_world.make(folder)
    return folder


@pytest.fixture(scope="module")
def audited(made):
    """The plain study, with its store and run."""
    return _audit(made, "plain")


def _audit(folder, store="store", **changes):
    name = store.replace(" ", "-")
    study = tag_world.write_study(folder, f"{name}.toml", store={"path": name}, **changes)
    return study, *audit_in_process(plan_run(study))


def _mask(row, words):
    """The row of a query about some words alone."""
    return row | {"tags": [tag if w in words else None for w, tag in enumerate(row["tags"])]}


@pytest.mark.default_cases("plain", "all sub-words", "smoothed")
@pytest.mark.parametrize("name", SETTINGS)
def test_effects_equal_those_of_dense_matrices(made, audited, name):
    changes, loss, subwords = SETTINGS[name]
    _, store, run = audited if name == "plain" else _audit(made, name, **changes)
    queries, train = read_rows(made, "queries"), read_rows(made, "train")
    attributed = tag_world.LAST if name == "last layer" else tag_world.HEAD
    truth = Truth(made, subwords, attributed=attributed)
    expected = truth.effects(queries, train, 0.01, **loss)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()


def test_tables_have_tags_predictions_and_losses(made, audited):
    _, store, run = audited
    truth = Truth(made)
    for name, key in (("train", "train"), ("queries", "query")):
        stored = store.scan(name, run).sort(key).collect().to_dicts()
        for row, given in zip(stored, read_rows(made, name), strict=True):
            logits, _ = truth.logits(truth.row, given["tokens"], given["tags"])
            predicted = [TAGS[place] for place in logits.argmax(1).tolist()]
            loss = float(truth.loss(truth.row, given["tokens"], given["tags"]))
            assert row["text"] == " ".join(given["tokens"])
            assert row["label"] == " ".join(given["tags"])
            assert row["prediction"] == " ".join(predicted)
            assert row["correct"] == (predicted == given["tags"])
            assert row["loss"] == pytest.approx(loss, rel=1e-4)
            assert row["probability"] == pytest.approx(math.exp(-loss), rel=1e-3)


def test_summary_shows_spans_with_their_words(audited):
    study, store, run = audited
    summary = read_summary(store, run, study)
    texts = [render_summary_markdown(summary), render(summary)]
    assert "loss" in texts[0]
    for text in texts:
        assert "None" not in text
    assert "PER: " in texts[1]
    assert "I-PER" not in texts[1]


def test_effects_on_spans_add_up_to_those_on_the_sentence(made, audited):
    _, store, run = _audit(made, "spans", queries={"by_span": True})
    rows = store.scan("queries", run).sort("query").collect()
    queries, train = {r["id"]: r for r in read_rows(made, "queries")}, read_rows(made, "train")
    masked = []
    for row in rows.to_dicts():
        name, part = row["id"].rsplit(":", 1)
        tags = queries[name]["tags"]
        inside = [w for w, tag in enumerate(tags) if tag != "O"]
        words = [w for w in range(len(tags)) if w not in inside]
        if part != "O":
            first, last = map(int, part.split("-"))
            words = [*range(first - 1, last)]
            assert {tags[w][2:] for w in words} == {row["group_span"]}
        shown = [tag if w in words else "_" for w, tag in enumerate(tags)]
        assert row["label"] == " ".join(shown)
        masked.append(_mask(queries[name], words))
    expected = Truth(made).effects(masked, train, 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()
    names = [name.rsplit(":", 1)[0] for name in rows["id"]]
    sums = torch.zeros(len(queries), len(train)).double()
    places = torch.tensor([[*queries].index(name) for name in names])
    sums.index_add_(0, places, effects)
    whole = read_effects(audited[1], audited[2], sums.shape)
    assert (sums - whole).abs().max() < 1e-4 * whole.abs().max()


def test_queries_without_tags_are_explained_at_the_predicted_ones(made, audited):
    _, store, run = _audit(made, "untagged", queries={"label": None})
    rows = store.scan("queries", run).sort("query").collect()
    assert set(rows["measure"]) == {"log-probability"}
    assert rows["label"].null_count() == len(rows)
    given = [
        row | {"tags": text.split()}
        for row, text in zip(read_rows(made, "queries"), rows["prediction"], strict=True)
    ]
    expected = Truth(made).effects(given, read_rows(made, "train"), 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()


def test_truncated_words_have_no_effect(made, capsys):
    _, store, run = _audit(made, "short", model={"max_length": 7})
    queries, train = read_rows(made, "queries"), read_rows(made, "train")
    expected = Truth(made, length=7).effects(queries, train, 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()
    rows = store.scan("queries", run).sort("query").collect()
    assert rows["truncated"].any()
    cut = rows.filter("truncated").to_dicts()[0]
    assert cut["prediction"].endswith("_")
    assert len(cut["prediction"].split()) == len(cut["label"].split())


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": tiny.SKETCH, "solver": {"kind": "dual"}},
        {"candidates": {"kind": "knn", "k": 12, "check": 0}, "solver": {"kind": "dual"}},
        {"run": {"one_by_one": True, "prefix_cache_mb": 0, "batch_size": 4}},
    ],
    ids=["sketch", "knn", "one by one"],
)
def test_other_ways_give_the_same_effects(made, audited, changes):
    _, store, run = _audit(made, "other", **changes)
    both = tiny.scores_by_id(store, run).join(
        tiny.scores_by_id(*audited[1:]), on=["query_id", "train_id"], suffix="_exact"
    )
    assert len(both) == len(tiny.scores_by_id(store, run)) > 0
    effects, exact = both["removal_effect"].to_numpy(), both["removal_effect_exact"].to_numpy()
    assert abs(effects - exact).max() < 2e-3 * abs(exact).max()


def test_spectral_solver_ranks_rows_like_the_exact_one(made, audited):
    _, store, run = _audit(made, "spectral", solver={"kind": "spectral"})
    shape = torch.Size([tag_world.QUERIES, tag_world.ROWS])
    exact, other = (read_effects(s, r, shape) for s, r in (audited[1:], (store, run)))
    for row, approximate in zip(exact, other, strict=True):
        assert torch.corrcoef(torch.stack([row, approximate]))[0, 1] > 0.5


def test_changed_sub_words_are_another_run(made):
    names = [
        plan_run(tag_world.write_study(made, "named.toml", model={"subwords": way})).ref.run
        for way in ("first", "all")
    ]
    assert names[0] != names[1]


def test_training_rows_keep_partly_missing_tags(made, tmp_path):
    rows = read_rows(made, "train")
    rows[0] = _mask(rows[0], [0])
    tag_world.write_rows(made / "partly.parquet", rows)
    _, store, run = _audit(made, "partly", train={"table": "partly.parquet"})
    expected = Truth(made).effects(read_rows(made, "queries"), rows, 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()
    first = store.scan("train", run).filter(pl.col("train") == 0).collect()["label"][0]
    assert first.split()[1:] == ["_"] * (len(rows[0]["tags"]) - 1)


@pytest.mark.long
def test_an_urgent_query_has_the_effects_of_dense_matrices(made):
    repeats = 24
    lissa = {"kind": "lissa", "repeats": repeats, "batch": tag_world.ROWS, "depth": 20}
    lissa |= {"scale": 40.0}
    changes = {"solver": lissa, "curvature": {"damping": 20.0}}
    study = tag_world.write_study(made, "urgent.toml", store={"path": "urgent"}, **changes)
    plan = plan_run(study)
    start_run(plan)
    factor_curvature.fn(plan.ref)
    request = QueryRequest(1, repeats, tag_world.ROWS)
    solves = [solve_repeat.fn(repeat, request, plan.ref) for repeat in range(repeats)]
    answer = attribute_query.fn(solves, request, plan.ref)
    queries, train = read_rows(made, "queries"), read_rows(made, "train")
    expected = Truth(made).effects(queries[1:2], train, 20.0)[0]
    stored = [*answer.harmful, *answer.helpful]
    effects = {row["train_id"]: row["removal_effect"] for row in stored}
    assert len(effects) == len(train)
    scale = float(expected.abs().max())  # the mean of the repeats, each on random batches
    for name, effect in effects.items():
        place = int(name.removeprefix("train-"))
        assert effect == pytest.approx(float(expected[place]), abs=0.02 * scale)
