"""The flip set of a query of the tiny study: search, confirmation, refusals and what is printed."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from command_line import run, run_refused
from rich.console import Console

import fastif
from fastif import InputError
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.bisection.retrain import predict_retrained
from tasks.data.inputs import read_inputs
from tasks.flips.confirm_flip import confirm_flip, edit_table
from tasks.flips.find_flip import find_flip
from tasks.flips.findings import list_findings, render_flip_json
from tasks.flips.flip_answer import EditedTraining
from tasks.flips.flip_request import FlipRequest, make_flip_request, require_recipe
from tasks.models.finetune import train_model
from tasks.planning.open_run import open_run
from tasks.planning.start_run import start_run
from tasks.run.spec import plan_run
from tasks.terminal.flips import render_flip

RECIPE = {"base": "base", "epochs": 12, "learning_rate": 5e-3, "batch_size": 16}
RECIPE |= {"checkpoints": [], "record": False, "seed": 3}
QUERIES = (1, 3)
TRAINED = {"model": {"path": "out/trained"}, "training": RECIPE}


def prepare(study):
    plan = plan_run(study)
    start_run(plan)
    choose_damping.fn(plan.ref)
    factor_curvature.fn(plan.ref)
    return plan


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """The tiny study trained by its recipe; its tables are not changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("flips") / "world")
    study = tiny.write_study(folder, **TRAINED)
    train_model.fn(str(study))
    return prepare(study)


def find(plan, query, relabel=False, max_rows=20):
    return find_flip.fn(FlipRequest(query, relabel, max_rows), plan.ref)


@pytest.fixture(scope="module")
def answers(trained):
    return {kind: [find(trained, query, kind) for query in QUERIES] for kind in (False, True)}


def test_answers_name_the_rows_of_the_library(trained, answers):
    context = open_run(trained.ref)
    train, labels = trained.inputs.train, context.study.labels
    outputs = fastif.predict(context.objective, context.query_examples)[0]
    for relabel, known in answers.items():
        for query, answer in zip(QUERIES, known, strict=True):
            assert answer.query_id == trained.inputs.queries.ids[query]
            assert answer.prediction == labels[int(outputs[query].argmax())]
            gap = outputs[query].max() - outputs[query].min()
            assert answer.margin == pytest.approx(float(gap), rel=1e-4)
            assert answer.is_flip == (answer.corrected_margin < 0)
            for row in answer.rows:
                assert train.ids[row.position] == row.id
                assert labels[train.labels[row.position]] == row.label
                assert row.new_label is None if not relabel else row.new_label != row.label
            effects = [row.effect for row in answer.rows]
            assert effects == sorted(effects, reverse=True)
    assert any(answer.is_flip for answer in answers[False])
    assert any(answer.is_flip for answer in answers[True])


def test_the_label_of_the_query_decides_nothing(trained, answers, tmp_path):
    folder = tiny.copy(trained.inputs.study.path.parent, tmp_path / "world")
    rows = tiny.rows_of(folder / "queries.csv")
    other = {"neg": "pos", "pos": "neg"}
    tiny.write_rows(folder / "queries.csv", [{**row, "label": other[row["label"]]} for row in rows])
    answer = find(prepare(folder / "study.toml"), 1)
    assert [row.id for row in answer.rows] == [row.id for row in answers[False][0].rows]
    assert answer.corrected_margin == pytest.approx(answers[False][0].corrected_margin, rel=1e-4)


@pytest.mark.long
def test_a_confirmation_trains_with_the_rows_and_with_random_ones(trained, answers, monkeypatch):
    monkeypatch.setattr("tasks.flips.confirm_flip.SEEDS", 1)
    labels = trained.inputs.study.labels
    for known in answers.values():
        answer = next(answer for answer in known if answer.is_flip)
        confirmed = confirm_flip.fn(answer, trained.ref)
        kinds = [(each.is_random, each.seed) for each in confirmed.trainings]
        assert kinds == [(False, 3), (True, 3)]
        edits = {
            row.position: labels.index(row.new_label) if row.new_label else None
            for row in answer.rows
        }
        table = edit_table(trained.inputs.train, edits)
        assert len(table) == tiny.TRAIN - (0 if answer.relabel else len(answer.rows))
        queries = trained.inputs.queries.take([answer.query])
        (outputs,) = predict_retrained(require_recipe(trained), table, queries, 3, "test")
        former = labels.index(answer.prediction)
        margin = outputs[former] - outputs[1 - former]
        assert confirmed.trainings[0].margin == pytest.approx(margin, abs=1e-4)
        assert (margin < 0) == (confirmed.trainings[0].prediction != answer.prediction)


def test_with_no_edits_the_recipe_gives_the_model(trained):
    (outputs,) = predict_retrained(
        require_recipe(trained),
        edit_table(trained.inputs.train, {}),
        trained.inputs.queries.take([2]),
        3,
        "test",
    )
    context = open_run(trained.ref)
    expected = fastif.predict(context.objective, context.query_examples, ids=torch.tensor([2]))[0]
    assert outputs == pytest.approx(expected[0].tolist(), abs=1e-4)


def test_findings_say_what_was_found_and_what_was_not(answers):
    flip = next(answer for answer in answers[False] if answer.is_flip)
    count = len(flip.rows)
    first, bound, *rest = list_findings(flip)
    assert f"With {count} training row" in first
    assert f"flip from {flip.prediction} to {flip.new_prediction}" in first
    assert f"{flip.first_order_size} training row" in bound
    assert rest == []
    none = replace(flip, is_flip=False, corrected_margin=0.7, first_order_size=None, max_rows=1)
    first, bound = list_findings(none)
    assert first.startswith("No set of at most 1 training row is predicted to flip")
    assert first.endswith("+0.7 logits.")
    assert bound == "To first order, where effects add up, not even all rows suffice."
    trainings = (
        EditedTraining(False, 3, flip.new_prediction, -0.25),
        EditedTraining(True, 3, flip.prediction, 0.5),
    )
    *_, edited, random = list_findings(replace(flip, trainings=trainings))
    assert "with these rows removed: the prediction flipped in 1 of 1 trainings" in edited
    assert "with as many random rows removed: the prediction flipped in 0 of 1" in random


def test_json_has_no_text_and_the_panel_has_markup_as_it_is(answers):
    answer = answers[True][1]  # its id and text have brackets
    content = json.loads(render_flip_json(replace(answer, leverage=float("nan"))))
    assert content["query"] == "[red]query[/]-3"
    assert content["leverage"] is None
    assert content["size"] == len(answer.rows)
    assert [row["id"] for row in content["rows"]] == [row.id for row in answer.rows]
    assert "plot [bold] was fine" not in json.dumps(content)
    console = Console(width=150, record=True)
    console.print(render_flip(answer))
    shown = console.export_text()
    assert "the [/] plot [bold] was fine" in shown
    assert "query [red]query[/]-3" in shown
    assert all(row.id in shown for row in answer.rows)


def test_bad_requests_are_refused_before_prefect_starts(world):
    study = tiny.write_study(world)
    assert "expected an id of" in run_refused(world, "flip", "nobody", study)
    assert "[training]" in run_refused(world, "flip", "query-0", study, "--confirm")
    assert 'Did you mean "query-16"' in run_refused(world, "flip", "query-166", study)
    tiny.make_other(world, "other", seed=1)
    several = tiny.write_study(world, "several.toml", top={"models": ["other"]})
    assert "a study of one model" in run_refused(world, "flip", "query-0", several)
    assert run("flip", "query-0", study, "--max-rows", "0")[0] == 2


def test_a_model_of_another_training_is_not_confirmed(world):
    study = tiny.write_study(world, training=RECIPE)  # the model has no training record
    with pytest.raises(InputError, match="no training record"):
        require_recipe(plan_run(study))
    request = make_flip_request(read_inputs(study), "query-0", True, 7, True)
    assert request == FlipRequest(0, True, 7)
