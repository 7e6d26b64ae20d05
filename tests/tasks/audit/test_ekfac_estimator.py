"""Effects by EK-FAC as a candidate of the estimator, against a study with that solver."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny

from fastif import InputError
from fastif.evaluation.estimator import EKFAC
from tasks.models.finetune import train_model
from tasks.planning.cost_model import DAMPING_STAGE, estimate_work
from tasks.planning.open_run import load_run, reopen_run
from tasks.planning.workload import make_workload
from tasks.results.compare_runs import diff_runs
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import damping_digest, ekfac_digest, estimator_digest
from tasks.run.selections import DAMPING, ESTIMATOR
from tasks.run.spec import list_planned_shards, plan_run
from tasks.study.study import StudyError

RECIPE = {
    "base": "base",
    "trainable": "last:1",
    "epochs": 8,
    "learning_rate": 0.01,
    "checkpoints": [],
}
CHANGES = {
    "curvature": {"damping": "auto"},
    "training": RECIPE,
    "model": {"path": "trained"},
    "candidates": {"kind": "full", "keep": tiny.TRAIN},
}


def write_study(world, name="study.toml", **changes):
    return tiny.write_study(world, name, **{**CHANGES, **changes})


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A trained folder without checkpoints; nothing is written but studies."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("trained") / "world")
    train_model.fn(str(write_study(folder)))
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """A copy of the trained folder after its audit; read only."""
    folder = tiny.copy(trained, tmp_path_factory.mktemp("ekfac") / "world")
    store, run = tiny.run_directly(write_study(folder), "measured")
    return folder, store, run


@pytest.fixture(scope="module")
def selected(measured, tmp_path_factory):
    """A copy whose store has the selection of EK-FAC with the power 0."""
    folder = tiny.copy(measured[0], tmp_path_factory.mktemp("selected") / "world")
    context = load_run(plan_run(write_study(folder)))
    choice = ESTIMATOR.read(context.store, estimator_digest(context))
    (estimator,) = [
        trial.estimator
        for trial in choice.trials
        if trial.estimator.kind == EKFAC and not trial.estimator.power
    ]
    _store_selection(context, estimator)
    return folder, context.store, estimator


def _store_selection(context, estimator) -> None:
    digest = estimator_digest(context)
    choice = ESTIMATOR.read(context.store, digest)
    shutil.rmtree(context.store.layout.root / "parts" / "estimator" / digest)
    ESTIMATOR.write(context.store, digest, replace(choice, estimator=estimator))


@pytest.mark.long
def test_ekfac_is_tried_with_every_power(measured):
    folder, _, _ = measured
    context = load_run(plan_run(folder / "study.toml"))
    kinds = [(t.estimator.kind, t.estimator.power) for t in context.estimator_choice.trials]
    assert {(EKFAC, power) for power in (0.0, 0.5, 1.0)} <= set(kinds)
    assert kinds[0] == ("influence", 0.0)
    own = DAMPING.read(context.store, ekfac_digest(context))
    exact = DAMPING.read(context.store, damping_digest(context))
    assert own.dampings != exact.dampings or own.agreement != exact.agreement


def _read_effects(store, run) -> np.ndarray:
    return store.scan("scores", run).sort("query", "train").collect()["removal_effect"].to_numpy()


@pytest.mark.long
def test_selected_effects_are_those_of_the_solver_spectral(selected):
    folder, store, estimator = selected
    study = write_study(folder)
    _, run = tiny.run_directly(study, "approximate")
    context = reopen_run(plan_run(study))
    assert context.solver.kind == "spectral"
    assert context.damping == pytest.approx(estimator.dampings[0])
    alone = write_study(
        folder,
        "alone.toml",
        curvature={"damping": estimator.dampings[0]},
        training=None,
        solver={"kind": "spectral"},
        store={"path": "alone"},
    )
    other, fixed = tiny.run_directly(alone)
    np.testing.assert_allclose(
        _read_effects(store, run), _read_effects(other, fixed), rtol=1e-4, atol=1e-8
    )
    solves = store.scan("solves", run).collect()
    assert set(solves["solver"]) == {"spectral"}
    evidence = dict(read_summary(store, run, study).evidence)
    assert evidence["estimator chosen"].startswith("influence by EK-FAC at the final weights")
    _store_selection(context, context.estimator_choice.simplest.estimator)
    tiny.run_directly(study, "exact")
    assert set(store.scan("solves", "exact").collect()["solver"]) == {"dual"}
    comparability = diff_runs(store, "exact", run).comparability
    assert (comparability.level, "EK-FAC" in str(comparability)) == ("nothing", True)
    _store_selection(context, estimator)


@pytest.mark.long
def test_a_lost_damping_of_ekfac_is_selected_again(selected, tmp_path):
    folder = tiny.copy(selected[0], tmp_path / "lost")
    context = load_run(plan_run(write_study(folder)))
    shutil.rmtree(context.store.layout.root / "parts" / "damping" / ekfac_digest(context))
    context = reopen_run(plan_run(write_study(folder)))
    assert context.lacks_estimator
    assert context.solver.kind == "dual"


@pytest.mark.long
def test_its_work_is_forecast(measured):
    folder, _, _ = measured
    fresh = write_study(folder, "fresh.toml", store={"path": "fresh"})
    without = write_study(folder, "without.toml", store={"path": "w"}, estimator={"ekfac": False})
    both = []
    for study in (fresh, without):
        plan = plan_run(study)
        work = estimate_work(make_workload(load_run(plan), list_planned_shards(plan)))
        both.append(work[DAMPING_STAGE].gradients)
    assert both[0] > both[1]


@pytest.mark.default_cases("changes0-True", "changes1-False", "changes6-False")
@pytest.mark.parametrize(
    ("changes", "is_tried"),
    [
        ({}, True),
        ({"estimator": {"ekfac": False}}, False),
        ({"solver": {"kind": "spectral"}}, False),
        ({"curvature": {"damping": "auto", "leverage": "on"}}, False),
        ({"curvature": {"damping": 0.1}}, False),
        ({"training": None}, False),
        ({"top": {"models": ["model"]}}, False),
    ],
)
def test_where_it_is_tried(trained, changes, is_tried):
    study = write_study(trained, "where.toml", **changes)
    context = load_run(plan_run(study))
    assert (context.tries_ekfac and context.study.estimator.is_open) == is_tried


@pytest.mark.parametrize(
    "changes",
    [
        {"solver": {"kind": "spectral"}},
        {"solver": {"kind": "lissa"}},
        {"curvature": {"damping": "auto", "leverage": "on"}},
        {"curvature": {"damping": 0.1}},
        {"training": None},
    ],
)
def test_a_request_that_cannot_be_met_is_refused(trained, changes):
    study = write_study(trained, "bad.toml", **{"estimator": {"ekfac": True}, **changes})
    with pytest.raises(StudyError, match=r"\[estimator\] ekfac"):
        plan_run(study)


@pytest.mark.long
def test_where_hooks_give_no_gradients_only_a_demand_is_refused(measured, tmp_path, caplog):
    """One backward pass for each example has no activations of layers, which EK-FAC needs."""
    folder = tiny.copy(measured[0], tmp_path / "hookless")
    keys = {"run": {"one_by_one": True}, "store": {"path": "hookless"}}
    study = write_study(folder, "hookless.toml", **keys)
    with caplog.at_level("WARNING"):
        tiny.run_directly(study)
    kinds = {trial.estimator.kind for trial in load_run(plan_run(study)).estimator_choice.trials}
    assert kinds == {"influence", "gradient cosine"}
    assert "Effects by EK-FAC are not tried" in caplog.text
    demanded = write_study(folder, "demanded.toml", estimator={"ekfac": True}, **keys)
    with pytest.raises(InputError, match="EK-FAC"):
        tiny.run_directly(demanded)
