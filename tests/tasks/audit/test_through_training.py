"""Effects through the training in a study: tried by retraining, and used in every shard."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

import fastif
from fastif import InputError
from fastif.evaluation.estimator import UNROLLED
from fastif.evaluation.select_damping import HALVES, sample_halves
from fastif.gradients.per_example import compute_measure_gradients
from fastif.unrolled.reverse_sweep import unrolled_removal_effects
from storage import Store, StoreError
from tasks.audit import select_damping as chooser
from tasks.audit import select_estimator as selecting
from tasks.audit.layers import compute_layer_effects
from tasks.audit.prepare import compute_factor
from tasks.models.finetune import train_model
from tasks.models.step_record import open_step_record
from tasks.planning.forecast import forecast_run
from tasks.planning.memory import estimate_peak_memory
from tasks.planning.open_run import load_run, reopen_run, validate_run
from tasks.planning.workload import make_workload
from tasks.report.build import ReportRequest, build_report
from tasks.results.compare_runs import diff_runs
from tasks.results.explained_query import explain_query
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import estimator_digest, factor_digest
from tasks.run.artifacts import read_factor
from tasks.run.assemble import make_attributor
from tasks.run.selections import ESTIMATOR
from tasks.run.spec import list_planned_shards, open_store, plan_run

RECIPE = {"base": "base", "trainable": "last:1", "epochs": 4, "learning_rate": 0.01}
CHANGES = {
    "curvature": {"damping": "auto"},
    "training": RECIPE,
    "model": {"path": "trained"},
    "candidates": {"kind": "full", "keep": tiny.TRAIN},
    "estimator": {"checkpoints": [], "power": 0.0, "through_training": True},
}


def write_study(world, name="study.toml", **changes):
    return tiny.write_study(world, name, **{**CHANGES, **changes})


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A folder with a trained model and the record of its training; read only."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("through") / "world")
    train_model.fn(str(write_study(folder)))
    return folder


@pytest.fixture(scope="module")
def first_audit(trained):
    return tiny.run_directly(write_study(trained))


@pytest.fixture(scope="module")
def truth(trained):
    """Effects of all rows on all queries, by one sweep of the library, [q, n]."""
    context = load_run(plan_run(write_study(trained)))
    objective = context.objective
    record = open_step_record(trained / "trained", objective, context.train_examples)
    gradients = compute_measure_gradients(fastif.Gradients(objective), context.query_examples)
    return unrolled_removal_effects(record, objective, context.train_examples, gradients)


@pytest.fixture
def copied(trained, first_audit, tmp_path):
    folder = tiny.copy(trained, tmp_path / "copied")
    return folder, Store.open(folder / "store", "tiny", create=False), first_audit[1]


def select_unrolled(store, context, power=0.0):
    """Store the effects through the training as the selection, regardless of the measured one."""
    digest = estimator_digest(context)
    measured = ESTIMATOR.read(store, digest)
    (estimator,) = {
        trial.estimator
        for trial in measured.trials
        if trial.estimator.kind == UNROLLED and trial.estimator.power == power
    }
    shutil.rmtree(store.layout.root / "parts" / "estimator" / digest)
    ESTIMATOR.write(store, digest, replace(measured, estimator=estimator))


def read_effects(store, run):
    scores = store.scan("scores", run).sort("query", "train").collect()
    effects = torch.from_numpy(scores["removal_effect"].to_numpy().copy())
    return effects.view(tiny.QUERIES, tiny.TRAIN)


@pytest.mark.long
def test_the_agreement_is_that_of_the_sweep(trained, first_audit, truth):
    """The stored trial against correlations of the sweep's sums with the same retrainings."""
    store, _ = first_audit
    context = load_run(plan_run(write_study(trained)))
    choice = ESTIMATOR.read(store, estimator_digest(context))
    (trial,) = [trial for trial in choice.trials if trial.estimator.kind == UNROLLED]
    halves = sample_halves(tiny.TRAIN, HALVES, seed=0)
    outcomes = chooser._retrain_on_halves(context, halves, torch.arange(tiny.QUERIES)).double()
    sums = torch.stack([truth[:, half].double().sum(1) for half in halves])
    pairs = (torch.stack([sums[:, z], outcomes[:, z]]) for z in range(tiny.QUERIES))
    expected = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean()
    assert trial.agreement == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.long
def test_the_selection_computes_the_factors_of_the_shards(copied):
    """Stored are those of the models in the mean alone, with the numbers of a factorization."""
    folder, store, _ = copied
    study = write_study(folder, store={"path": "fresh"})
    plan = plan_run(study)
    store = open_store(plan)
    chooser.choose_damping.fn(plan.ref)
    context = reopen_run(plan)
    assert not context.is_unrolled
    kept = {factor_digest(member) for member in context.averaged_members}
    assert {path.name for path in (folder / "fresh" / "parts" / "factor").iterdir()} == kept
    for member in context.averaged_members:
        stored = read_factor(store, factor_digest(member))
        factor = compute_factor(member, member.damping)
        assert stored.keys() == factor.keys()
        for name, tensor in factor.items():
            assert torch.equal(stored[name], tensor)


def test_the_report_lists_every_tried_estimator(trained, first_audit, tmp_path):
    store, run = first_audit
    choice = read_summary(store, run, trained / "study.toml").estimator_choice
    out = tmp_path / "report.html"
    request = ReportRequest(f"{trained / 'study.toml'}", run, out=f"{out}")
    built = build_report.fn(request)
    text = Path(built.path).read_text("utf-8")
    section = text[text.index("Estimators compared with retraining") : text.index('id="cost"')]
    assert section.count("<tr><td>") == len(choice.trials)
    assert section.count("<td>selected</td>") == 1
    assert "influence through the training" in section
    assert f"correlation of {choice.held_out:.2f}" in section


@pytest.mark.long
def test_selected_effects_are_those_of_one_sweep_in_any_shards(copied, truth):
    folder, store, first = copied
    study = write_study(folder)
    select_unrolled(store, load_run(plan_run(study)))
    context = reopen_run(plan_run(study))
    assert context.is_unrolled
    for number, size in enumerate((5, tiny.QUERIES)):
        sized = write_study(folder, run={"shard_size": size})
        tiny.run_directly(sized, f"run-{number}")
        effects = read_effects(store, f"run-{number}")
        torch.testing.assert_close(effects, truth.to(effects), rtol=1e-3, atol=1e-6)
    solves = store.scan("solves", "run-0").collect()
    assert solves["reason"].null_count() == tiny.QUERIES
    assert bool(solves["converged"].all())
    evidence = dict(read_summary(store, "run-0", study).evidence)
    assert evidence["estimator chosen"].startswith("influence through the training: correlation")
    comparability = diff_runs(store, first, "run-0").comparability
    assert (comparability.level, "through the training" in str(comparability)) == ("nothing", True)


@pytest.mark.long
def test_a_power_ranks_by_the_norms_of_these_effects(copied, truth, monkeypatch):
    """The measured selection is replaced: a small study may select another estimator."""
    folder, store, _ = copied
    measure = selecting.select_estimator

    def select_through_training(estimators, *arguments):
        selection = measure(estimators, *arguments)
        (through,) = [e for e in estimators if e.kind == UNROLLED]
        return replace(selection, estimator=through)

    monkeypatch.setattr(selecting, "select_estimator", select_through_training)
    section = {"checkpoints": [], "power": 0.5, "through_training": True}
    tiny.run_directly(write_study(folder, estimator=section), "measured")
    norms = truth.double().norm(dim=0)
    expected = truth * (norms / norms.median()) ** -0.5
    scores = store.scan("scores", "measured").sort("query", "rank").collect()
    ranking = torch.from_numpy(scores["ranking_score"].to_numpy().copy()).view(expected.shape)
    rows = torch.from_numpy(scores["train"].to_numpy().astype("int64")).view(expected.shape)
    assert bool((ranking.diff(dim=1) >= 0).all())
    torch.testing.assert_close(ranking, expected.gather(1, rows).float(), rtol=1e-3, atol=1e-6)


@pytest.mark.long
def test_layers_of_effects_through_the_training_are_refused(copied):
    folder, store, _ = copied
    study = write_study(folder)
    plan = plan_run(study)
    select_unrolled(store, load_run(plan))
    tiny.run_directly(study, "unrolled")
    explained = explain_query(store, "unrolled", 0, 2)
    with pytest.raises(StoreError, match="through the training"):
        compute_layer_effects(plan_run(study), explained)


def test_forecast_has_the_sweep_and_tells_what_shards_would_take(trained):
    def seconds(name, section):
        study = write_study(trained, name, estimator=section, store={"path": f"{name}-store"})
        plan = plan_run(study)
        return forecast_run(load_run(plan), list_planned_shards(plan))

    plain = seconds("plain.toml", {"checkpoints": [], "power": 0.0})
    through = seconds("through.toml", CHANGES["estimator"])
    assert through.stages["damping"] > plain.stages["damping"]
    assert through.memory >= plain.memory
    notes = " ".join(through.notes)
    assert "if effects through the training are selected, the shards take about" in notes
    assert "through the training" not in " ".join(plain.notes)


@pytest.mark.parametrize("spoil", ["missing", "damaged", "rows", "weights"])
def test_bad_records_are_refused_before_any_retraining(copied, spoil):
    folder, _, _ = copied
    record = folder / "trained" / "record"
    study = write_study(folder, store={"path": "fresh"})
    if spoil == "missing":
        shutil.rmtree(record)
    elif spoil == "damaged":
        state = sorted(record.glob("state-*"))[-1]
        state.write_bytes(state.read_bytes()[:-1] + b"\0")
    elif spoil == "rows":
        rows = tiny.rows_of(folder / "train.csv")
        tiny.write_rows(folder / "train.csv", rows[:-1])
    else:
        manifest = json.loads((record / "record.json").read_text())
        manifest["weights_digest"] = "0" * 64
        (record / "record.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"through_training|record") as caught:
        validate_run(plan_run(study))
    text = str(caught.value)
    assert "[estimator] through_training" in text
    assert "fastif train" in text
    assert not (folder / "fresh").exists()


@pytest.mark.long
@pytest.mark.parametrize("full", [{"rank": 2}, {"precision": "bfloat16"}, {}])
def test_reports_and_rounded_scans_read_a_run_through_the_training(copied, tmp_path, truth, full):
    """No solution is rounded or truncated; there are no numbers of a solve."""
    folder, store, _ = copied
    study = write_study(folder, candidates=CHANGES["candidates"] | full)
    select_unrolled(store, load_run(plan_run(study)))
    tiny.run_directly(study, "unrolled")
    torch.testing.assert_close(read_effects(store, "unrolled"), truth.float(), rtol=1e-3, atol=1e-6)
    evidence = dict(read_summary(store, "unrolled", study).evidence)
    assert evidence["solver"] == "unrolled differentiation, which solves no linear system"
    assert not {"largest residual", "residual on all rows", "cosine with gradient"} & set(evidence)
    out = tmp_path / "report.html"
    text = Path(
        build_report.fn(ReportRequest(f"{study}", "unrolled", out=f"{out}")).path
    ).read_text()
    assert "influence through the training" in text
    assert "λ, added to every eigenvalue" not in text


def test_another_loss_than_in_training_is_refused_before_any_retraining(copied, monkeypatch):
    folder, _, _ = copied
    study = write_study(folder, loss={"label_smoothing": 0.2}, store={"path": "fresh"})
    plan = plan_run(study)
    open_store(plan)
    retrained = []
    monkeypatch.setattr(chooser, "_retrain_on_halves", lambda *args: retrained.append(args))
    with pytest.raises(InputError, match="repeat"):
        chooser.choose_damping.fn(plan.ref)
    assert not retrained


@pytest.mark.long
def test_sweeps_stay_within_the_memory_of_the_run(copied, truth):
    """The limit is below the adjoints of all queries, so several sweeps give the same effects."""
    folder, store, _ = copied
    study = write_study(folder, run={"memory_gb": 2.0, "shard_size": tiny.QUERIES})
    plan = plan_run(study)
    select_unrolled(store, load_run(plan))
    context = reopen_run(plan)
    (attributor,) = make_attributor(context).members
    assert attributor.sweep_gb == pytest.approx(2.0 / 3)
    small = replace(attributor, sweep_gb=1e-6)
    assert small.sweep_queries == 1
    effects = small.compute_effects(context.query_examples, torch.arange(tiny.QUERIES))
    torch.testing.assert_close(effects, truth.to(effects), rtol=1e-3, atol=1e-6)
    workload = make_workload(context, list_planned_shards(context.plan))
    free = replace(workload, sweep=replace(workload.sweep, limit_gb=1e6))
    large = replace(workload.problem, parameters=10**8)
    limited, unlimited = (
        estimate_peak_memory(replace(each, problem=large)) for each in (workload, free)
    )
    assert limited < unlimited
