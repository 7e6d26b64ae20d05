"""Audits of targets other than classes, against dense double precision matrices."""

import polars as pl
import pytest
import reference
import tiny
import torch
from target_worlds import WORLDS, make_world, read_rows
from transformers import BertForSequenceClassification, BertTokenizerFast

from tasks.audit.in_process import audit_in_process
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import render_summary_markdown
from tasks.run.spec import plan_run
from tests.tasks.audit.rendered import render

LENGTH = {"truncation": True, "max_length": tiny.MAX_LENGTH, "return_tensors": "pt"}
SETTINGS = {
    "candidates": {"kind": "full", "keep": 40, "totals": True},
    "solver": {"kind": "direct"},
    "certificate": {"rows": 40},
}


MOST = ("multi-label columns", "number", "ordinal", "soft-label", "weights")
"""Worlds of the default run; those left out differ from one of them in the loss alone."""

pytestmark = pytest.mark.default_cases(*MOST)


@pytest.fixture(scope="module", params=WORLDS)
def audited(request, tmp_path_factory):
    """The study of a kind, with its store and run."""
    folder, world = tmp_path_factory.mktemp("targets") / "made", WORLDS[request.param]
    make_world(folder, world)
    study = tiny.write_study(folder, **SETTINGS, **world.study)
    return world, study, audit_in_process(plan_run(study))


def _problem(model, world, rows, loss, weighted):
    tokenizer = BertTokenizerFast.from_pretrained(model.config._name_or_path)
    names = [name for name, _ in model.named_parameters() if name.startswith(tiny.LAST)]
    inputs = [dict(tokenizer(row["text"], **LENGTH)) for row in rows]
    weights = [row["weight"] if weighted and "weight" in row else 1.0 for row in rows]
    targets = [
        torch.cat([torch.tensor([w]).double(), world.target(row).double().reshape(-1)])
        for row, w in zip(rows, weights, strict=True)
    ]

    def weigh(outputs, target):
        return target[0] * loss(outputs, target[1:] if len(target) > 2 else target[1])

    return reference.Problem(model, names, inputs, targets, weigh)


def test_effects_equal_those_of_dense_matrices(audited):
    world, study, (store, run) = audited
    folder = study.parent
    model = BertForSequenceClassification.from_pretrained(
        folder / "model", attn_implementation="eager"
    )
    model.double().eval()
    train = _problem(model, world, read_rows(folder, "train"), world.loss, True)
    query_loss = world.query_loss or world.loss
    queries = _problem(model, world, read_rows(folder, "queries"), query_loss, False)
    gradients = (reference.gradients(problem) for problem in (queries, train))
    expected = reference.removal_effects(*gradients, reference.gauss_newton(train), 0.01)
    scores = store.scan("scores", run).collect()
    assert len(scores) == expected.numel()
    effects = torch.zeros_like(expected)
    effects[scores["query"].to_list(), scores["train"].to_list()] = torch.tensor(
        scores["removal_effect"].to_list(), dtype=expected.dtype
    )
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()


def test_tables_have_targets_predictions_and_losses(audited):
    world, study, (store, run) = audited
    queries = store.scan("queries", run).collect().sort("query")
    assert queries["label"].null_count() == queries["prediction"].null_count() == 0
    model = BertForSequenceClassification.from_pretrained(study.parent / "model").eval()
    tokenizer = BertTokenizerFast.from_pretrained(study.parent / "model")
    loss = world.query_loss or world.loss
    for row, stored in zip(read_rows(study.parent, "queries"), queries.to_dicts(), strict=True):
        with torch.no_grad():
            outputs = model(**tokenizer(row["text"], **LENGTH)).logits[0].double()
        assert stored["loss"] == pytest.approx(float(loss(outputs, world.target(row))), rel=1e-4)
    is_number = queries["measure"].is_in(["squared-error", "huber-loss"]).all()
    assert queries["correct"].null_count() == (len(queries) if study_kind(study) == "number" else 0)
    assert is_number == (queries["measure"][0] != "loss")


def study_kind(study):
    return plan_run(study).inputs.study.target


def test_the_summary_says_what_is_explained(audited):
    _, study, (store, run) = audited
    summary = read_summary(store, run, study)
    texts = [render_summary_markdown(summary), render(summary)]
    for text in texts:
        assert "none of the" not in text
        assert "None" not in text
    if study_kind(study) == "number":
        assert "of 9 queries is" in texts[0]


def test_training_rows_keep_their_weights(audited):
    _, study, (store, run) = audited
    train = store.scan("train", run).collect().sort("train")
    rows = pl.read_csv(study.parent / "train.csv")
    expected = rows["weight"].to_list() if "weight" in rows.columns else [None] * len(rows)
    assert train["weight"].to_list() == expected
