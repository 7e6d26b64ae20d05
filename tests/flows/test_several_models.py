"""A study of several checkpoints: effects are means over them, with their spread."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny
import torch
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr
from test_interrupted_runs import (
    ONE_BY_ONE,
    TABLES,
    read_log,
    read_manifests,
    start_audit,
    wait_for,
)
from truth import Truth, table

from fastif import InputError
from fastif.attribution.control_sample import select_control_ids
from storage import Store
from tasks.planning.open_run import load_run, validate_run
from tasks.results.summary import read_summary
from tasks.run.artifact_keys import factor_digest
from tasks.run.spec import plan_run
from tasks.study.study import StudyError

OTHERS = {"models": ["other", "third"]}
HEAD = {"attributed": ["pooler", "^classifier"]}


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory) -> Path:
    """The tiny study with two further models; read-only."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("models") / "made")
    for seed, name in enumerate(OTHERS["models"]):
        tiny.make_other(folder, name, seed)
    return folder


@pytest.fixture
def world(trained, tmp_path) -> Path:
    return tiny.copy(trained, tmp_path / "world")


def write(folder: Path, **changes) -> Path:
    return tiny.write_study(folder, **{"top": OTHERS, "parameters": HEAD, **changes})


@pytest.fixture(scope="module")
def audited(trained, tmp_path_factory):
    folder = tiny.copy(trained, tmp_path_factory.mktemp("audited") / "world")
    store, run = tiny.run_directly(write(folder, candidates={"kind": "full", "keep": 100}))
    return folder, store, run


def test_scores_are_the_mean_of_the_dense_truths(audited):
    folder, store, run = audited
    rows = [tiny.rows_of(folder / f"{name}.csv") for name in ("train", "queries")]
    prefixes = ("bert.pooler.", "classifier.")
    truths = torch.stack(
        [
            Truth(folder / name, *rows, prefixes).effects(0.01)
            for name in ("model", *OTHERS["models"])
        ]
    )
    scores = store.scan("scores", run).collect()
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    expected = table(truths.mean(0), scores)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    spread = torch.from_numpy(scores["spread"].to_numpy()).double()
    wanted = table(truths.std(0), scores)
    assert (spread - wanted).abs().max() < 1e-4 * wanted.max()
    assert spread.min() >= 0
    solves = store.scan("solves", run).sort("query").collect()
    assert set(solves["models"]) == {3}
    ids = select_control_ids(tiny.TRAIN)
    for said_to_be, query in zip(solves["agreement"], truths.unbind(1), strict=True):
        pairs = [spearmanr(query[i, ids], query[j, ids]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert said_to_be == pytest.approx(sum(p.statistic for p in pairs) / 3, abs=2e-3)
    assert solves["agreement"].max() < 0.999, "the models are one"
    outputs = Truth(folder / "model", *rows, prefixes)
    queries = store.scan("queries", run).collect()
    predicted = [tiny.LABELS[i] for i in outputs.outputs(outputs.queries).argmax(1)]
    assert queries["prediction"].to_list() == predicted, "predictions are the first model's"


@pytest.mark.long
def test_shards_batches_and_cache_change_nothing(audited, world):
    _, store, run = audited
    study = write(
        world,
        candidates={"kind": "full", "keep": 100},
        run={"shard_size": 17, "batch_size": 7, "prefix_cache_mb": 0},
    )
    other, same = tiny.run_directly(study)
    assert same == run
    actual, expected = (tiny.scores_by_id(s, run) for s in (other, store))
    assert_frame_equal(actual.drop("rank"), expected.drop("rank"), rel_tol=1e-3, abs_tol=1e-6)


@pytest.mark.long
def test_each_model_has_its_factor_and_one_alone_shares_its_own(world):
    study = write(world)
    store, run = tiny.run_directly(study)
    parts = {p.name for p in (store.layout.root / "parts" / "factor").iterdir()}
    assert parts == {factor_digest(member) for member in load_run(plan_run(study)).members}
    assert len(parts) == 3
    assert len(list((store.layout.root / "parts" / "index").iterdir())) == 1
    alone, single = tiny.run_directly(tiny.write_study(world, parameters=HEAD))
    assert single != run
    assert {p.name for p in (store.layout.root / "parts" / "factor").iterdir()} == parts
    scores = alone.scan("scores", single).collect()
    assert scores["spread"].null_count() == scores.height
    assert set(alone.scan("solves", single).collect()["models"]) == {1}
    pairs = [
        tiny.scores_by_id(store, name).select("query_id", "train_id") for name in (run, single)
    ]
    assert pairs[0].equals(pairs[1]), "the first model chooses the candidates"


@pytest.mark.long
@pytest.mark.flow
def test_tables_are_the_same_after_a_kill_and_a_restart(prefect, trained, tmp_path):
    candidates = {"kind": "full", "keep": 9}
    calm = tiny.copy(trained, tmp_path / "calm" / "world")
    expected, run = tiny.run_directly(write(calm, run=ONE_BY_ONE, candidates=candidates))
    world = tiny.copy(trained, tmp_path / "world")
    study = write(world, run=ONE_BY_ONE, candidates=candidates)
    process = start_audit(study, prefect)
    wait_for(process, study, 4)
    time.sleep(0.03)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = read_manifests(study)
    assert 4 <= len(kept) < tiny.QUERIES + 2, read_log(study)
    tiny.run_directly(study)
    assert kept.items() <= read_manifests(study).items()
    store = Store.open(world / "store", "tiny", create=False)
    assert store.verify(run) == []
    for name in TABLES:
        actual, wanted = (s.scan(name, run).collect() for s in (store, expected))
        assert_frame_equal(actual, wanted, rel_tol=1e-5, abs_tol=1e-6)


def test_the_models_are_part_of_what_a_run_computes(world):
    parts = plan_run(write(world)).record.parts
    assert len(parts["models"]) == 2
    names = {plan_run(write(world, top=top)).record.run for top in ({}, {"models": ["other"]})}
    names.add(plan_run(write(world)).record.run)
    assert len(names) == 3
    assert "models" not in plan_run(write(world, top={})).record.parts


def _narrow(world: Path) -> None:
    path = world / "other" / "config.json"
    config = json.loads(path.read_text())
    reverse = {"id2label": {"0": "pos", "1": "neg"}, "label2id": {"pos": 0, "neg": 1}}
    path.write_text(json.dumps(config | reverse))


def _foreign_words(world: Path) -> None:
    """A vocabulary in another order: equal size, other token ids."""
    for path in (world / "other").glob("*"):
        if path.name in ("vocab.txt", "tokenizer.json"):
            path.unlink()
    tiny.write_tokenizer(world / "other", tiny.WORDS[::-1])


def _deeper(world: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(world / "other")
    config.intermediate_size = 20
    BertForSequenceClassification(config).save_pretrained(world / "other")


def _gone(world: Path) -> None:
    shutil.rmtree(world / "other")


def _copied(world: Path) -> None:
    shutil.rmtree(world / "other")
    shutil.copytree(world / "model", world / "other")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_narrow, "order"),
        (_foreign_words, "the tokenizer of the first model.*row 1 of the train table"),
        (_deeper, "attributed parameters of the first model"),
        (_gone, "model .*other.*no folder"),
        (_copied, "different models"),
    ],
    ids=["labels", "tokenizer", "architecture", "missing", "twice"],
)
def test_models_that_do_not_belong_together_are_refused(world, spoil, message):
    spoil(world)
    before = sorted(world.rglob("*"))
    study = write(world, parameters={"attributed": "last:1"})
    with pytest.raises(InputError, match=message):
        validate_run(plan_run(study))
    assert sorted(path for path in world.rglob("*") if path != study) == [
        path for path in before if path != study
    ]


def test_the_model_itself_is_not_allowed_in_models(world):
    with pytest.raises(StudyError, match=r"models other than that of \[model\] path"):
        plan_run(write(world, top={"models": ["other", "model"]}))


@pytest.mark.long
def test_a_model_of_clearly_lower_agreement_is_excluded_and_reported(
    trained, tmp_path, monkeypatch
):
    """The rule has its own test; this tests its effect on a run, also for the first model."""
    folder = tiny.copy(trained, tmp_path / "world")
    training = {"base": "base", "trainable": "last:1", "epochs": 1, "learning_rate": 0.01}
    study = write(
        folder,
        candidates={"kind": "full", "keep": 100},
        curvature={"damping": "auto", "leverage": "off"},
        training=training,
    )
    for module in ("tasks.run.context", "tasks.audit.select_estimator"):
        monkeypatch.setattr(f"{module}.find_clearly_worse", lambda choices: [0])
    store, run = tiny.run_directly(study)
    members = load_run(plan_run(study)).members
    rows = [tiny.rows_of(folder / f"{name}.csv") for name in ("train", "queries")]
    prefixes = ("bert.pooler.", "classifier.")
    truths = torch.stack(
        [
            Truth(folder / name, *rows, prefixes).effects(member.damping)
            for name, member in zip(["model", *OTHERS["models"]], members, strict=True)
        ]
    )
    scores = tiny.scores_by_id(store, run)
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    errors = [
        (actual - table(truth.mean(0), scores)).abs().max() / truth.abs().max()
        for truth in (truths[1:], truths)
    ]
    assert errors[0] < 2e-2, "the chosen damping may be so small that single precision shows"
    assert errors[1] > 5 * errors[0]
    assert store.scan("solves", run).collect()["models"].unique().to_list() == [2]
    choices = [member.damping_choice for member in members]
    (left_out,) = json.loads(store.scan("runs", run).collect()["curvature"].item())["left_out"]
    assert left_out["model"] == "model"
    assert left_out["agreement"] == choices[0].best_agreement
    alarms = [alarm for alarm in read_summary(store, run, study).warnings if "left out" in alarm]
    assert len(alarms) == 1
    assert alarms[0].startswith("model is left out of the mean over models")
    assert store.find_artifact("factor", factor_digest(members[0])) is None, (
        "nothing is solved with it"
    )
