"""A study with damping = "auto": selected once by retraining, stored, reported and used."""

import json

import polars as pl
import pytest
import tiny
import torch

from fastif.evaluation.select_damping import HALVES
from fastif.evaluation.spectral_damping import EXACT_SHARE
from storage import Store
from tasks.audit import select_damping as chooser
from tasks.models.finetune import train_model
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run, validate_run
from tasks.results.choices import describe_damping_choice, warn_damping_choice
from tasks.results.compare_runs import diff_runs
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import damping_digest
from tasks.run.curvature import make_gauss_newton
from tasks.run.hidden_states import get_train_examples
from tasks.run.selections import DAMPING
from tasks.run.spec import list_missing_shards, plan_run
from tasks.study.study import StudyError

AUTO = {"damping": "auto"}
TRAINING = {"base": "base", "trainable": "last:1", "epochs": 2, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def first_audit(made, tmp_path_factory):
    """A folder after an audit that selected its damping, and the run; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("chosen") / "world")
    return folder, tiny.run_directly(write_study(folder))[1]


@pytest.fixture
def audited(first_audit, tmp_path):
    """Its study, store and run."""
    folder = tiny.copy(first_audit[0], tmp_path / "audited")
    return folder / "study.toml", Store.open(folder / "store", "tiny", create=False), first_audit[1]


def write_study(world):
    estimator = {"power": 0.0, "ekfac": False}  # so that the selection is of the damping alone
    return tiny.write_study(world, curvature=AUTO, training=TRAINING, estimator=estimator)


def test_the_damping_is_selected_once_and_used(world, audited, monkeypatch):
    before = load_run(plan_run(write_study(world)))
    assert forecast_run(before, before.plan.record.list_shards()).stages["damping"] > 0
    study, store, run = audited
    context = load_run(plan_run(study))
    choice = DAMPING.read(store, damping_digest(context))
    assert choice is not None
    assert choice.agreement[choice.dampings.index(choice.damping)] == max(choice.agreement)
    assert store.scan("solves", run).collect()["damping"].unique().to_list() == [choice.damping]
    row = store.scan("runs", run).collect()
    assert row["damping"].item() == choice.damping
    stored_choice = json.loads(row["curvature"].item())["chosen"]
    assert (stored_choice["rule"], stored_choice["damping"]) == ("retraining", choice.damping)
    assert DAMPING.parse_column(row["curvature"].item()) == choice
    summary = read_summary(store, run, study)
    assert dict(summary.evidence)["damping chosen"] == describe_damping_choice(choice)
    assert set(warn_damping_choice(choice)) <= set(summary.warnings)
    assert not list_missing_shards(store, run)
    assert forecast_run(context, []).stages["damping"] == 0

    def again(*_):
        raise AssertionError("it was chosen a second time")

    monkeypatch.setattr(chooser, "_retrain_on_halves", again)
    tiny.run_directly(study, "again")


@pytest.mark.long
def test_without_a_recipe_the_damping_comes_from_the_spectrum_until_there_is_one(world):
    """The next night has a recipe: another run, and a damping that was compared with retraining."""
    study = tiny.write_study(world, curvature=AUTO)
    before = load_run(plan_run(study))
    assert forecast_run(before, before.plan.record.list_shards()).stages["damping"] > 0
    store, run = tiny.run_directly(study)
    context = load_run(plan_run(study))
    matrix = make_gauss_newton(context, get_train_examples(context)).to_dense().double()
    expected = EXACT_SHARE * float(torch.linalg.eigvalsh(matrix)[-1])
    stored = store.scan("solves", run).collect()["damping"].unique().item()
    assert stored == pytest.approx(expected, rel=0.05)
    summary = read_summary(store, run, study)
    described = dict(summary.evidence)["damping chosen"]
    assert "at the model's first audit, not compared with retraining" in described
    assert any("rule of thumb" in warning for warning in summary.warnings)
    assert forecast_run(context, []).stages["damping"] == 0
    tiny.write_rows(world / "train.csv", tiny.rows_of(world / "train.csv")[:-8])
    other, fewer = tiny.run_directly(study)
    assert other.scan("solves", fewer).collect()["damping"].unique().item() == stored
    assert diff_runs(store, run, fewer).comparability.level == "numbers"
    second = write_study(world)
    assert plan_run(second).record.run != run
    assert load_run(plan_run(second)).known_damping is None


@pytest.mark.long
def test_a_coupled_penalty_is_added_to_the_damping_once(world):
    """The stored λ is the selected damping plus the penalty, like that of the operator."""
    loss = {"weight_decay": 0.02, "weight_decay_kind": "coupled"}
    store, run = tiny.run_directly(
        tiny.write_study(world, curvature=AUTO, training=TRAINING, loss=loss)
    )
    context = load_run(plan_run(world / "study.toml"))
    choice = DAMPING.read(store, damping_digest(context))
    assert choice is not None
    assert (choice.penalty, min(choice.dampings) >= 0) == (0.02, True)
    stored = store.scan("solves", run).collect()["damping"].unique().item()
    assert stored == choice.damping + 0.02
    assert (
        make_gauss_newton(context, get_train_examples(context)).with_damping(choice.damping).damping
        == stored
    )


@pytest.mark.long
def test_scores_equal_those_of_the_same_damping_set_by_the_study(audited):
    study, store, run = audited
    chosen = float(store.scan("solves", run).collect()["damping"][0])
    changes = {"curvature": {"damping": chosen}, "store": {"path": "b"}}
    given = tiny.write_study(study.parent, "given.toml", **changes)
    other, same = tiny.run_directly(given)
    left, right = (s.scan("scores", r).collect() for s, r in ((store, run), (other, same)))
    assert left["train"].equals(right["train"])
    assert (left["removal_effect"] - right["removal_effect"]).abs().max() < 1e-6


@pytest.mark.long
def test_every_checkpoint_gets_its_own_damping(world):
    """A checkpoint after half of the training; the same retrainings select both dampings."""
    recipe = {**TRAINING, "checkpoints": [0.5]}
    path = {"path": "trained"}
    train_model.fn(str(tiny.write_study(world, curvature=AUTO, training=recipe, model=path)))
    half = "trained/checkpoint-0.5"
    study = tiny.write_study(
        world, curvature=AUTO, training=recipe, model=path, top={"models": [half]}
    )
    store, run = tiny.run_directly(study)
    members = load_run(plan_run(study)).members
    assert damping_digest(members[0]) != damping_digest(members[1])
    choices = [DAMPING.read(store, damping_digest(member)) for member in members]
    assert all(choices)
    assert [member.damping for member in members] == [choice.damping for choice in choices]
    assert len({choice.agreement for choice in choices}) == 2
    description = dict(read_summary(store, run, study).evidence)["damping chosen"]
    assert description == describe_damping_choice(choices[0], choices[1:])
    alone = tiny.write_study(
        world, "half.toml", curvature=AUTO, training=TRAINING, model={"path": half}
    )
    assert damping_digest(load_run(plan_run(alone))) == damping_digest(members[1])


@pytest.mark.long
@pytest.mark.parametrize(
    "solver",
    [
        {"kind": "spectral"},
        pytest.param({"kind": "cg", "preconditioner": "drawn", "rank": 30}, marks=pytest.mark.long),
        pytest.param({"kind": "dual", "rank": 60}, marks=pytest.mark.long),
    ],
)
def test_every_solver_gets_a_selected_damping(world, solver):
    changes = {"solver": solver, "certificate": {"rows": 0}}
    study = tiny.write_study(world, curvature=AUTO, training=TRAINING, **changes)
    store, run = tiny.run_directly(study)
    dampings = store.scan("solves", run).select(pl.col("damping").unique()).collect()
    assert len(dampings) == 1
    assert dampings["damping"][0] > 0


def test_the_preset_of_the_paper_sets_its_own_damping(world):
    solver = {"kind": "lissa", "preset": "fastif"}
    study = tiny.write_study(world, curvature={"damping": None}, solver=solver)
    context = validate_run(plan_run(study))
    assert context.damping == 50


@pytest.mark.parametrize("value", ["automatic", -0.1, True])
def test_other_values_are_refused(world, value):
    with pytest.raises(StudyError, match='a finite number >= 0, or "auto"'):
        plan_run(tiny.write_study(world, curvature={"damping": value}))


def test_the_number_of_half_subsets_is_small():
    assert 2 < HALVES < 12
