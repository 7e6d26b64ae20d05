"""The estimator of a study with checkpoints: selected once by retraining, stored and used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny
import torch

from fastif import InputError
from fastif.evaluation.select_damping import HALVES, sample_halves
from fastif.evaluation.select_estimator import EstimatorSelection
from storage import Store
from tasks.audit import select_damping as chooser
from tasks.models.finetune import train_model
from tasks.planning.open_run import load_run, reopen_run
from tasks.results.comparability import Comparability, check_estimator
from tasks.results.compare_runs import diff_runs
from tasks.results.estimator import describe_estimator
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import estimator_digest
from tasks.run.assemble import make_attributor
from tasks.run.estimator_models import describe_checkpoints
from tasks.run.row_norms import KIND
from tasks.run.selections import ESTIMATOR
from tasks.run.spec import plan_run
from tasks.study.study import StudyError

RECIPE = {"base": "base", "trainable": "last:1", "epochs": 8, "learning_rate": 0.01}
CHANGES = {"curvature": {"damping": "auto"}, "training": RECIPE, "model": {"path": "trained"}}


def write_study(world, name="study.toml", **changes):
    return tiny.write_study(world, name, **{**CHANGES, **changes})


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A folder with a trained model and its checkpoints at 1/8, 1/4 and 1/2; copied."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("estimator") / "world")
    train_model.fn(str(write_study(folder)))
    return folder


@pytest.fixture(scope="module")
def first_audit(trained):
    """The store and run of its audit; read only."""
    return tiny.run_directly(write_study(trained))


@pytest.fixture
def copied(trained, first_audit, tmp_path):
    folder = tiny.copy(trained, tmp_path / "copied")
    return folder, Store.open(folder / "store", "tiny", create=False), first_audit[1]


def test_every_checkpoint_is_tried_and_the_selection_is_told(trained, first_audit):
    store, run = first_audit
    context = load_run(plan_run(trained / "study.toml"))
    names = [f"trained/checkpoint-{fraction}" for fraction in (0.125, 0.25, 0.5)]
    assert context.study.estimator.checkpoints == tuple(names)
    choice = ESTIMATOR.read(store, estimator_digest(context))
    assert isinstance(choice, EstimatorSelection)
    assert {trial.estimator.models for trial in choice.trials} >= {(0,), (1,), (2,), (3,), (1, 2)}
    assert (choice.halves, choice.queries) == (HALVES, tiny.QUERIES)
    row = store.scan("runs", run).collect()
    assert ESTIMATOR.parse_column(row["curvature"].item()) == choice
    assert json.loads(row["curvature"].item())["models"] == ["trained", *names]
    evidence = dict(read_summary(store, run, trained / "study.toml").evidence)
    assert evidence["estimator chosen"] == describe_estimator(choice, ["trained", *names])


@pytest.mark.long
def test_agreements_are_those_of_the_stored_effects(trained, first_audit):
    """The trial of the final weights against scores of the same damping set by the study."""
    context = load_run(plan_run(trained / "study.toml"))
    choice, final = context.estimator_choice, context.damping
    fixed = {"damping": final}
    full = {"kind": "full", "keep": tiny.TRAIN}
    changes = {"curvature": fixed, "candidates": full, "store": {"path": "fixed"}}
    store, run = tiny.run_directly(write_study(trained, "fixed.toml", **changes))
    scores = store.scan("scores", run).sort("query", "train").collect()
    effects = torch.from_numpy(scores["removal_effect"].to_numpy().copy())
    effects = effects.view(tiny.QUERIES, tiny.TRAIN).double()
    halves = sample_halves(tiny.TRAIN, HALVES, seed=0)
    outcomes = chooser._retrain_on_halves(context, halves, torch.arange(tiny.QUERIES)).double()
    for power in (0.0, 0.5, 1.0):
        scaled = effects / effects.norm(dim=0) ** power
        sums = torch.stack([scaled[:, half].sum(1) for half in halves])
        pairs = (torch.stack([sums[:, z], outcomes[:, z]]) for z in range(tiny.QUERIES))
        expected = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean()
        (trial,) = [
            trial
            for trial in choice.trials
            if trial.estimator.models == (0,)
            and trial.estimator.power == power
            and trial.estimator.kind == "influence"
        ]
        assert trial.agreement == pytest.approx(float(expected), abs=1e-3)


def _select(store, context, models, power=0.0):
    """Store another selection in place of the measured one."""
    digest = estimator_digest(context)
    measured = ESTIMATOR.read(store, digest)
    (trial,) = [
        trial
        for trial in measured.trials
        if trial.estimator.models == models
        and trial.estimator.power == power
        and trial.estimator.kind == "influence"
    ]
    shutil.rmtree(store.layout.root / "parts" / "estimator" / digest)
    ESTIMATOR.write(store, digest, replace(measured, estimator=trial.estimator))
    return trial.estimator


@pytest.mark.long
def test_scores_are_the_mean_of_the_selected_checkpoints(copied):
    folder, store, _ = copied
    study = write_study(folder)
    estimator = _select(store, load_run(plan_run(study)), (1, 3))
    context = reopen_run(plan_run(study))
    assert [member.model_digest for member in context.averaged_members] == [
        context.members[1].model_digest,
        context.members[3].model_digest,
    ]
    _, run = tiny.run_directly(study, "mean")
    parts = []
    for model, damping in zip((0.125, 0.5), estimator.dampings, strict=True):
        alone = write_study(
            folder,
            f"{model}.toml",
            model={"path": f"trained/checkpoint-{model}"},
            curvature={"damping": damping},
            training=None,
            candidates={"kind": "full", "keep": tiny.TRAIN},
        )
        other = make_attributor(load_run(plan_run(alone)))(context.query_examples).influences
        parts.append(other.removal_effect.gather(1, other.ids.argsort(1)))
    expected = torch.stack(parts).mean(0)
    scores = store.scan("scores", run).collect()
    query, train = (torch.tensor(scores[name].to_list()) for name in ("query", "train"))
    effects = torch.tensor(scores["removal_effect"].to_list())
    torch.testing.assert_close(effects, expected[query, train], rtol=1e-4, atol=1e-7)
    assert store.scan("runs", run).collect()["damping"].item() == estimator.dampings[0]
    _select(store, context, (1,))
    _, alone = tiny.run_directly(study, "alone")
    same = Comparability("numbers", ())
    equal, other = (check_estimator(same, store, run, name) for name in (run, alone))
    assert (equal.level, other.level, "other weights" in str(other)) == ("numbers", "order", True)


@pytest.mark.long
def test_a_selected_power_ranks_by_the_normalised_effects(copied):
    """Norms and ranking from the scores of all rows of a run whose ranking is the effect."""
    folder, store, _ = copied
    full = {"kind": "full", "keep": tiny.TRAIN}
    plain = write_study(folder, "plain.toml", candidates=full, estimator={"power": 0.0})
    _, base = tiny.run_directly(plain)
    study = write_study(folder, candidates=full | {"keep": 4}, estimator={"power": 0.5})
    tiny.run_directly(study, "measured")
    context = load_run(plan_run(study))
    chosen = context.estimator_choice.estimator
    digest = estimator_digest(load_run(plan_run(plain)))
    same = replace(ESTIMATOR.read(store, digest), estimator=replace(chosen, power=0.0))
    shutil.rmtree(store.layout.root / "parts" / "estimator" / digest)
    ESTIMATOR.write(store, digest, same)
    _, base = tiny.run_directly(plain, "base")
    effects = store.scan("scores", base).sort("query", "train").collect()["removal_effect"]
    effects = effects.to_numpy().reshape(tiny.QUERIES, tiny.TRAIN).astype(float)
    norms = np.sqrt((effects**2).sum(0))
    ranking = effects / np.sqrt(norms / np.sort(norms)[(tiny.TRAIN - 1) // 2])
    scores = store.scan("scores", "measured").sort("query", "rank").collect()
    for query, rows in scores.group_by("query"):
        order = ranking[query[0]].argsort(kind="stable")
        assert rows["train"].to_list() == [*order[:4], *order[-4:]]
        expected = ranking[query[0]][rows["train"].to_list()]
        np.testing.assert_allclose(rows["ranking_score"], expected, rtol=1e-3, atol=1e-7)
        expected = effects[query[0]][rows["train"].to_list()]
        np.testing.assert_allclose(rows["removal_effect"], expected, rtol=1e-3, atol=1e-7)
    evidence = dict(read_summary(store, "measured", study).evidence)
    assert "ranking_score" in evidence["estimator chosen"]


@pytest.mark.long
def test_the_next_night_keeps_the_selection_and_a_lost_one_is_made_again(copied, monkeypatch):
    folder, store, run = copied
    study = write_study(folder)
    calls = []
    retrain = chooser._retrain_on_halves
    monkeypatch.setattr(
        chooser, "_retrain_on_halves", lambda *args: calls.append(1) or retrain(*args)
    )
    _, again = tiny.run_directly(study, "again")
    assert not calls
    left, right = (store.scan("scores", name).collect() for name in (run, again))
    assert left.equals(right)
    assert diff_runs(store, run, again).comparability.level == "numbers"
    context = load_run(plan_run(study))
    shutil.rmtree(store.layout.root / "parts" / "estimator" / estimator_digest(context))
    assert reopen_run(plan_run(study)).lacks_estimator
    _, third = tiny.run_directly(study, "third")
    assert calls
    right = store.scan("scores", third).collect()
    assert left["train"].equals(right["train"])


@pytest.mark.long
def test_a_lost_row_norm_is_no_ranking_without_norms(copied):
    folder, store, _ = copied
    study = write_study(folder)
    context = load_run(plan_run(study))
    _select(store, context, (0,), 0.5)
    shutil.rmtree(store.layout.root / "parts" / KIND, ignore_errors=True)
    context = reopen_run(plan_run(study))
    assert context.lacks_estimator
    assert context.row_scale is None


@pytest.mark.long
def test_missing_checkpoints_make_another_run_and_are_tried_no_more(copied):
    folder, store, run = copied
    for fraction in ("0.125", "0.25"):
        shutil.rmtree(folder / "trained" / f"checkpoint-{fraction}")
    study = write_study(folder)
    plan = plan_run(study)
    assert plan.record.run != run
    assert plan.inputs.study.estimator.checkpoints == ("trained/checkpoint-0.5",)
    _, fewer = tiny.run_directly(study)
    comparability = diff_runs(store, run, fewer).comparability
    assert (comparability.level, "ranking: by" in str(comparability)) == ("nothing", True)
    trials = load_run(plan_run(study)).estimator_choice.trials
    assert {trial.estimator.models for trial in trials} == {(0,), (1,), (0, 1)}


def test_checkpoints_that_nothing_selects_are_offered(trained):
    plan = plan_run(write_study(trained, "offer.toml", training=None))
    (note,) = describe_checkpoints(plan.inputs.study)
    assert "3 checkpoints of its training are there (checkpoint-0.125, checkpoint-0.25" in note
    assert "recipe in [training]" in note
    assert not list(describe_checkpoints(plan_run(write_study(trained)).inputs.study))


def test_a_checkpoint_of_another_training_is_named_with_its_reason(copied):
    folder, _, _ = copied
    shutil.copytree(folder / "model", folder / "trained" / "checkpoint-0.9")
    notes = list(describe_checkpoints(plan_run(write_study(folder)).inputs.study))
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint-0.9 is not tried: ")


@pytest.mark.parametrize(
    "changes",
    [
        *({"curvature": {"damping": 0.1}}, {"training": None}),
        {"candidates": {"kind": "sketch", "k": 6, "rescore": False, "dimensions": 20}},
        {"estimator": {"checkpoints": []}},
    ],
)
def test_where_nothing_selects_no_checkpoint_is_loaded(trained, changes):
    plan = plan_run(write_study(trained, "other.toml", **changes))
    assert plan.inputs.study.further_models == ()
    assert "models" not in plan.record.parts


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"power": 3.0}, "less than or equal to 2|at most 2|<= 2"),
        ({"power": "much"}, "estimator"),
        ({"checkpoints": ["no-such-folder"]}, "no folder"),
        ({"checkpoints": ["trained"]}, "checkpoints"),
    ],
)
def test_bad_settings_are_refused(trained, section, problem):
    with pytest.raises((StudyError, InputError), match=problem):
        plan_run(write_study(trained, "bad.toml", estimator=section))


@pytest.mark.parametrize("changes", [{"curvature": {"damping": 0.1}}, {"training": None}])
@pytest.mark.parametrize("section", [{"power": 0.5}, {"checkpoints": ["trained/checkpoint-0.5"]}])
def test_settings_that_would_have_no_effect_are_refused(trained, changes, section):
    with pytest.raises(StudyError, match=r"\[estimator\]"):
        plan_run(write_study(trained, "bad.toml", estimator=section, **changes))


@pytest.mark.long
def test_scores_do_not_depend_on_the_shards(copied):
    folder, store, run = copied
    study = write_study(folder, run={"shard_size": 3, "batch_size": 7})
    tiny.run_directly(study, "smaller")
    left, right = (store.scan("scores", name).collect() for name in (run, "smaller"))
    both = left.join(right, on=["query", "train"], suffix="_other")
    assert len(both) == len(left)
    gap = (pl.col("removal_effect") - pl.col("removal_effect_other")).abs()
    assert both.select(gap.max()).item() < 1e-6
