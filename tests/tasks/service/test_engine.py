"""Explanations of single predictions, against the stored run and against dense products."""

import threading

import polars as pl
import pytest
import tiny
import torch

from fastif import InputError
from tasks.audit.in_process import audit_in_process
from tasks.run.existing_store import open_existing_store
from tasks.run.spec import plan_run
from tasks.service.engine import Wish
from tasks.service.open_engine import open_engine
from tasks.service.query_rows import name_texts, read_query_rows
from tasks.study.errors import StudyError

HALF = 12 // 2


def _read(engine, texts, labels=None):
    return read_query_rows(engine.study, name_texts(engine.study, texts, labels))


def test_a_query_of_the_table_has_the_rows_and_effects_of_the_run(engine, sketched):
    """The night stored the same inner products, in single precision and in another batch."""
    queries = tiny.rows_of(sketched / "queries.csv")
    rows = _read(engine, [q["text"] for q in queries], [q["label"] for q in queries])
    explained = engine.explain(rows, Wish(k=HALF))
    scores = open_existing_store(engine.study).scan("scores", engine.trust.run).collect()
    assert len(explained) == tiny.QUERIES
    for query, answer in enumerate(explained):
        stored = scores.filter(pl.col("query") == query).sort("rank")
        expected = dict(stored.select("train", "removal_effect").iter_rows())
        actual = {row.position: row.effect for row in (*answer.harmful, *answer.helpful)}
        signed = {row: value for row, value in expected.items() if row in actual}
        assert len(actual) >= HALF
        assert signed.keys() == actual.keys()
        assert actual == pytest.approx(signed, rel=1e-4, abs=1e-7)
        assert (answer.measure, answer.unit) == ("loss", "nats")


def test_effects_are_dense_products_of_sketches_computed_apart(engine, sketched):
    """Autograd of -log p at the prediction, times the sketcher as one dense matrix, times rows."""
    texts = [row["text"] for row in tiny.rows_of(sketched / "queries.csv")[:5]]
    answers = engine.explain(_read(engine, texts), Wish(k=60))
    objective, sketcher = engine.model.objective, engine.sketcher
    params = {name: tensor.clone().requires_grad_() for name, tensor in objective.params.items()}
    assert sketcher.projector.projection is None
    dense = sketcher.projector.count_sketch(torch.eye(objective.space.size)).double()
    whitened = sketcher.basis.double() / (sketcher.values + sketcher.damping).double().sqrt()
    rows = engine.index.take(torch.arange(60)).double()
    for place, answer in enumerate(answers):
        batch = engine.model.encode(_read(engine, [texts[place]]).table).take(torch.tensor([0]))
        lost = -objective.outputs(params, batch).log_softmax(1).max()
        parts = torch.autograd.grad(lost, list(params.values()))
        gradient = torch.cat([part.flatten() for part in parts]).double()
        expected = gradient @ dense @ whitened @ rows.T / 60
        actual = torch.zeros(60, dtype=torch.float64)
        for row in (*answer.helpful, *answer.harmful):
            actual[row.position] = row.effect
        assert torch.allclose(actual, expected, rtol=1e-3, atol=1e-6)
        assert answer.measure == "log-probability"
        assert answer.value == pytest.approx(-float(lost.detach()), abs=1e-5)


def test_neighbours_have_the_highest_cosines(engine):
    (answer,) = engine.explain(_read(engine, ["the plot was fine"], ["pos"]), Wish(1, 60))
    rows = engine.index.take(torch.arange(60)).double()
    lengths = rows.norm(dim=1)
    (effects,) = engine.explain(_read(engine, ["the plot was fine"], ["pos"]), Wish(60))
    product = torch.zeros(60, dtype=torch.float64)
    for row in (*effects.helpful, *effects.harmful):
        product[row.position] = row.effect * 60
    cosine = {row.position: row.cosine for row in answer.neighbours}
    ratio = {
        place: float(product[place] / lengths[place]) / value
        for place, value in cosine.items()
        if abs(value) > 1e-3
    }
    assert len({round(value, 3) for value in ratio.values()}) == 1  # the length of the query
    assert list(cosine.values()) == sorted(cosine.values(), reverse=True)


def test_answers_do_not_depend_on_other_queries_or_threads(engine, sketched):
    texts = [row["text"] for row in tiny.rows_of(sketched / "queries.csv")]
    together = engine.explain(_read(engine, texts))
    alone = [None] * len(texts)

    def explain(place):
        (alone[place],) = engine.explain(_read(engine, [texts[place]]))

    threads = [threading.Thread(target=explain, args=(place,)) for place in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for both in zip(together, alone, strict=True):
        first, second = ({r.id: r.effect for r in (*a.helpful, *a.harmful)} for a in both)
        assert first == pytest.approx(second, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("measure", ["margin", "entropy", "log-probability"])
def test_effects_on_other_measures_are_gradients_of_them(engine, measure):
    """The effect of a row is minus the slope of the measure along the row's whitened gradient."""
    (answer,) = engine.explain(_read(engine, ["the plot was bad"]), Wish(60, 0, measure))
    (other,) = engine.explain(_read(engine, ["the plot was bad"]), Wish(60, 0))
    assert answer.measure == measure
    effects, base = (
        {r.position: r.effect for r in (*a.helpful, *a.harmful)} for a in (answer, other)
    )
    # With two classes every measure is a function of the margin, so effects are proportional.
    ratios = {effects[place] / base[place] for place in base if abs(base[place]) > 1e-4}
    p = answer.probability
    slope = {"log-probability": 1.0, "margin": 1 / (1 - p)}.get(measure)
    margin = torch.tensor(p / (1 - p)).log()
    slope = slope or float(p * margin)
    assert min(ratios) == pytest.approx(max(ratios), rel=1e-2)
    assert min(ratios) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize(
    ("texts", "labels", "words"),
    [
        ([""], None, "an empty text in row 1"),
        (["fine", " \u200b"], None, "an empty text in row 2"),
        (["fine"], ["maybe"], 'one of "neg", "pos"'),
        (["a\0b"], None, "without NUL"),
        (["a\ud800"], None, "surrogate"),
        ([["a", "b"]], None, "expected a text; got 2 texts"),
        ([7], None, "got a number"),
        (["fine"], ["pos", "neg"], "as many labels as texts"),
        (["fine"], [["pos"]], "label"),
    ],
)
def test_unreadable_queries_are_refused_in_the_words_of_the_tables(engine, texts, labels, words):
    with pytest.raises((InputError, StudyError)) as caught:
        _read(engine, texts, labels)
    assert words in str(caught.value)


def test_the_loss_needs_labels_and_measures_have_names(engine):
    with pytest.raises(InputError, match="a label for every query with the loss"):
        engine.explain(_read(engine, ["fine"]), Wish(measure="loss"))
    with pytest.raises(InputError, match="margin, entropy"):
        Wish(measure="accuracy")
    with pytest.raises(InputError, match="1 or more"):
        Wish(k=0)


def test_trust_has_what_was_measured(engine):
    trust = engine.trust
    assert trust.train_rows == tiny.TRAIN
    assert trust.search.recall == 1
    assert trust.effects.queries == tiny.QUERIES
    assert trust.effects.correlation == pytest.approx(1, abs=1e-5)
    assert trust.effects.same_sign > 0.99


def test_a_study_without_sketches_or_with_others_is_refused(made, sketched, tmp_path):
    folder = tiny.copy(made, tmp_path / "none")
    with pytest.raises(InputError, match=r"Run `fastif audit .*` first"):
        open_engine(folder / "study.toml")
    folder = tiny.copy(sketched, tmp_path / "changed")
    rows = tiny.rows_of(folder / "train.csv")
    tiny.write_rows(folder / "train.csv", [*rows[:-1], rows[-1] | {"text": "a fine film"}])
    with pytest.raises(InputError, match="this model and this training table"):
        open_engine(folder / "study.toml")


def test_a_study_of_neighbours_is_told_to_use_sketches(finished):
    with pytest.raises(InputError, match=r'Set kind = "sketch" and run `fastif audit'):
        open_engine(finished / "study.toml")


def test_changed_queries_keep_the_sketches(sketched, tmp_path):
    folder = tiny.copy(sketched, tmp_path / "changed")
    rows = tiny.rows_of(folder / "queries.csv")
    tiny.write_rows(folder / "queries.csv", rows[:5])
    assert open_engine(folder / "study.toml").trust.effects.queries == 5


@pytest.mark.default_cases("auto")
@pytest.mark.parametrize("measure", ["auto", "margin"])
def test_a_run_of_queries_without_labels_is_compared_by_its_measure(made, tmp_path, measure):
    folder = tiny.copy(made, tmp_path / "unlabelled")
    changes = {"label": None, "measure": measure}
    sketch = tiny.SKETCH | {"rescore": False}
    audit_in_process(plan_run(tiny.write_study(folder, queries=changes, candidates=sketch)))
    engine = open_engine(folder / "study.toml")
    assert engine.trust.effects.queries == tiny.QUERIES
    assert engine.trust.effects.correlation == pytest.approx(1, abs=1e-5)
    assert engine.trust.effects.same_sign > 0.99
    texts = [tiny.rows_of(folder / "queries.csv")[0]["text"]]
    (answer,) = engine.explain(_read(engine, texts, ["pos"]), Wish(measure="loss"))
    (other,) = engine.explain(_read(engine, texts, ["neg"]), Wish(measure="loss"))
    assert (answer.measure, other.measure) == ("loss", "loss")
    assert torch.tensor(-answer.value).exp() + torch.tensor(-other.value).exp() == pytest.approx(1)
