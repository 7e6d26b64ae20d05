"""A study with damping = "auto": chosen once by real retraining, kept, said, and used."""

import json
import math

import polars as pl
import pytest
import tiny

from fastif.evaluation.select_damping import HALVES, DampingChoice
from tasks.audit import select_damping as chooser
from tasks.models.finetune import train_model
from tasks.planning.forecast import forecast
from tasks.planning.open_run import checked_job, make_job
from tasks.results.summary import read_summary
from tasks.run.selections import (
    choice_alarms,
    choice_evidence,
    read_choice,
    told_choice,
)
from tasks.run.spec import missing_shards, plan_run
from tasks.study.study import StudyError

AUTO = {"damping": "auto"}
TRAINING = {"base": "base", "trainable": "last:1", "epochs": 2, "learning_rate": 0.01}


@pytest.fixture
def world(made, tmp_path):
    return tiny.copy(made, tmp_path / "world")


def test_it_is_chosen_once_and_used(world, monkeypatch):
    study = tiny.write_study(world, curvature=AUTO, training=TRAINING)
    before = make_job(plan_run(study))
    assert forecast(before, before.plan.record.shards()).stages["damping"] > 0
    store, run = tiny.run_directly(study)
    job = make_job(plan_run(study))
    choice = read_choice(store, job.choice_digest)
    assert choice is not None
    assert choice.agreement[choice.dampings.index(choice.damping)] == max(choice.agreement)
    assert store.scan("solves", run).collect()["damping"].unique().to_list() == [choice.damping]
    row = store.scan("runs", run).collect()
    assert row["damping"].item() == choice.damping
    told = json.loads(row["curvature"].item())["chosen"]
    assert (told["rule"], told["damping"]) == ("retraining", choice.damping)
    assert told_choice(row["curvature"].item()) == choice
    summary = read_summary(store, run, study)
    assert dict(summary.evidence)["damping chosen"] == choice_evidence(choice)
    assert set(choice_alarms(choice)) <= set(summary.alarms)
    assert not missing_shards(store, run)
    assert forecast(job, []).stages["damping"] == 0

    def again(*_):
        raise AssertionError("it was chosen a second time")

    monkeypatch.setattr(chooser, "_retrained", again)
    tiny.run_directly(study, "again")


def test_a_coupled_penalty_is_part_of_it_once(world):
    """The λ of the store is the chosen damping and the penalty, as that of the operator is."""
    loss = {"weight_decay": 0.02, "weight_decay_kind": "coupled"}
    store, run = tiny.run_directly(
        tiny.write_study(world, curvature=AUTO, training=TRAINING, loss=loss)
    )
    job = make_job(plan_run(world / "study.toml"))
    choice = read_choice(store, job.choice_digest)
    assert choice is not None
    assert (choice.penalty, min(choice.dampings) >= 0) == (0.02, True)
    stored = store.scan("solves", run).collect()["damping"].unique().item()
    assert stored == choice.damping + 0.02
    assert job.gauss_newton(job.train).damped(choice.damping).damping == stored


def test_a_choice_to_be_doubted_is_said():
    dampings = (0.01, 0.1, 1.0)
    assert not list(choice_alarms(DampingChoice(0.1, "retraining", dampings, (0.2, 0.5, 0.3))))
    (edge,) = choice_alarms(DampingChoice(1.0, "retraining", dampings, (0.2, 0.3, 0.5)))
    assert "a better one may lie beyond" in edge
    (blind,) = choice_alarms(DampingChoice(0.1, "retraining", dampings, (0.02, 0.05, 0.01)))
    assert "No damping foretells" in blind
    (nothing,) = choice_alarms(DampingChoice(0.01, "retraining", dampings, (math.nan,) * 3))
    assert "No damping foretells" in nothing


def test_the_answers_are_those_of_the_same_number_given(world):
    store, run = tiny.run_directly(tiny.write_study(world, curvature=AUTO, training=TRAINING))
    chosen = float(store.scan("solves", run).collect()["damping"][0])
    changes = {"curvature": {"damping": chosen}, "store": {"path": "b"}}
    given = tiny.write_study(world, "given.toml", **changes)
    other, same = tiny.run_directly(given)
    left, right = (s.scan("scores", r).collect() for s, r in ((store, run), (other, same)))
    assert left["train"].equals(right["train"])
    assert (left["removal_effect"] - right["removal_effect"]).abs().max() < 1e-6


def test_every_checkpoint_gets_its_own(world):
    """Kept by `fastif train` at half of the training; the same few retrainings choose for both."""
    recipe = {**TRAINING, "checkpoints": [0.5]}
    path = {"path": "trained"}
    train_model.fn(str(tiny.write_study(world, curvature=AUTO, training=recipe, model=path)))
    half = "trained/checkpoint-0.5"
    study = tiny.write_study(
        world, curvature=AUTO, training=recipe, model=path, top={"models": [half]}
    )
    store, run = tiny.run_directly(study)
    members = make_job(plan_run(study)).members
    assert members[0].choice_digest != members[1].choice_digest
    choices = [read_choice(store, member.choice_digest) for member in members]
    assert all(choices)
    assert [member.damping for member in members] == [choice.damping for choice in choices]
    assert len({choice.agreement for choice in choices}) == 2
    told = dict(read_summary(store, run, study).evidence)["damping chosen"]
    assert told == choice_evidence(choices[0], choices[1:])
    alone = tiny.write_study(
        world, "half.toml", curvature=AUTO, training=TRAINING, model={"path": half}
    )
    assert make_job(plan_run(alone)).choice_digest == members[1].choice_digest


@pytest.mark.parametrize(
    "solver",
    [
        {"kind": "spectral"},
        pytest.param({"kind": "cg", "preconditioner": "drawn", "rank": 30}, marks=pytest.mark.long),
        pytest.param({"kind": "dual", "rank": 60}, marks=pytest.mark.long),
    ],
)
def test_every_solver_gets_one(world, solver):
    changes = {"solver": solver, "certificate": {"rows": 0}}
    study = tiny.write_study(world, curvature=AUTO, training=TRAINING, **changes)
    store, run = tiny.run_directly(study)
    found = store.scan("solves", run).select(pl.col("damping").unique()).collect()
    assert len(found) == 1
    assert found["damping"][0] > 0


def test_the_preset_of_the_paper_brings_its_own(world):
    solver = {"kind": "lissa", "preset": "fastif"}
    study = tiny.write_study(world, curvature={"damping": None}, solver=solver)
    job = checked_job(plan_run(study))
    assert job.damping == 50


def test_without_a_recipe_it_is_refused(world):
    with pytest.raises(StudyError, match=r"no \[training\] section"):
        plan_run(tiny.write_study(world, curvature=AUTO))


@pytest.mark.parametrize("value", ["automatic", -0.1, True])
def test_other_words_are_refused(world, value):
    with pytest.raises(StudyError, match='a finite number >= 0, or "auto"'):
        plan_run(tiny.write_study(world, curvature={"damping": value}))


def test_halves_are_a_handful():
    assert 2 < HALVES < 12
