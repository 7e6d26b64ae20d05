"""A study whose selected ranking is the gradient cosine: cosines by autograd on the saved model."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import reference
import tiny
import torch
from truth import Truth

from fastif.evaluation.estimator import COSINE
from storage.queries import find_most_harmful, find_most_helpful
from tasks.models.finetune import train_model
from tasks.planning.cost_model import estimate_work
from tasks.planning.open_run import load_run, reopen_run
from tasks.planning.workload import make_workload
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import estimator_digest
from tasks.run.selections import ESTIMATOR
from tasks.run.spec import list_planned_shards, plan_run

RECIPE = {"base": "base", "trainable": "last:1", "epochs": 8, "learning_rate": 0.01}
CHANGES = {"curvature": {"damping": "auto"}, "training": RECIPE, "model": {"path": "trained"}}
PLACE, FOLDER = 2, "trained/checkpoint-0.25"


@pytest.fixture(scope="module")
def world(made, tmp_path_factory):
    """A trained folder in whose store the cosine at a checkpoint is selected."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("cosine") / "world")
    study = tiny.write_study(folder, **CHANGES)
    train_model.fn(str(study))
    store, _ = tiny.run_directly(study, "measured")
    context = load_run(plan_run(study))
    digest = estimator_digest(context)
    measured = ESTIMATOR.read(store, digest)
    (cosine,) = [
        trial.estimator
        for trial in measured.trials
        if trial.estimator.kind == COSINE and trial.estimator.models == (PLACE,)
    ]
    shutil.rmtree(store.layout.root / "parts" / "estimator" / digest)
    ESTIMATOR.write(store, digest, replace(measured, estimator=cosine))
    return folder


def _compute_cosines(folder) -> np.ndarray:
    context = load_run(plan_run(folder / "study.toml"))
    truth = Truth(
        folder / FOLDER,
        tiny.rows_of(folder / "train.csv"),
        tiny.rows_of(folder / "queries.csv"),
        tuple(context.objective.space.names),
    )
    queries, rows = (
        torch.nn.functional.normalize(reference.gradients(problem), dim=1)
        for problem in (truth.queries, truth.train)
    )
    return (queries @ rows.T).numpy()


@pytest.mark.long
@pytest.mark.parametrize(
    "candidates",
    [
        {"kind": "full", "keep": 4},
        pytest.param({"kind": "knn", "k": 9}, marks=pytest.mark.long),
    ],
)
def test_rows_are_ranked_by_the_cosines_of_the_checkpoint(world, candidates):
    study = tiny.write_study(world, "ranked.toml", candidates=candidates, **CHANGES)
    name = candidates["kind"]
    store, _ = tiny.run_directly(study, name)
    scores = store.scan("scores", name).sort("query", "rank").collect()
    cosines = _compute_cosines(world)
    for (query,), rows in scores.group_by("query", maintain_order=True):
        expected = cosines[query][rows["train"].to_list()]
        np.testing.assert_allclose(rows["ranking_score"], expected, atol=2e-4)
        assert (np.diff(rows["ranking_score"]) >= 0).all()
        if name == "full":
            order = cosines[query].argsort()
            assert set(rows["train"]) == {*order[:4].tolist(), *order[-4:].tolist()}
        listed = find_most_harmful(scores.lazy(), query, 100).collect()
        assert (
            listed["ranking_score"].to_list()
            == rows.filter(rows["ranking_score"] < 0)["ranking_score"].to_list()
        )
        helpful = find_most_helpful(scores.lazy(), query, 100).collect()
        assert len(listed) + len(helpful) == len(rows)
    evidence = dict(read_summary(store, name, study).evidence)
    expected = "gradient cosine at checkpoint-0.25 (ranking_score)"
    assert evidence["estimator chosen"].startswith(expected)


@pytest.mark.long
def test_effects_are_those_of_the_same_checkpoint(world):
    damping = reopen_run(plan_run(world / "study.toml")).members[PLACE].damping
    full = {"kind": "full", "keep": tiny.TRAIN}
    fixed = {"curvature": {"damping": damping}, "model": {"path": FOLDER}}
    alone = tiny.write_study(world, "alone.toml", candidates=full, store={"path": "alone"}, **fixed)
    study = tiny.write_study(world, "whole.toml", candidates=full, **CHANGES)
    left, right = (
        store.scan("scores", run).sort("query", "train").collect()["removal_effect"].to_numpy()
        for store, run in (tiny.run_directly(alone), tiny.run_directly(study, "whole"))
    )
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-7)


@pytest.mark.long
def test_the_gradients_of_the_ranking_are_forecast(world):
    """A selection by effects at the same checkpoint, with and without the cosine."""
    study = tiny.write_study(world, "planned.toml", candidates={"kind": "full"}, **CHANGES)
    context = reopen_run(plan_run(study))
    assert context.ranks_by_cosine
    (by_effect,) = [
        trial.estimator
        for trial in context.estimator_choice.trials
        if trial.estimator.models == (PLACE,) and trial.estimator.rate_complexity((0,)) == (1, 0)
    ]
    choice = replace(context.estimator_choice, estimator=by_effect)
    plain = replace(context, estimator_choice=choice)
    shards = list_planned_shards(context.plan)
    by_cosine, by_effects = (
        sum(items.gradients for items in estimate_work(make_workload(made, shards)).values())
        for made in (context, plain)
    )
    assert by_cosine - by_effects == len(shards) * tiny.TRAIN
