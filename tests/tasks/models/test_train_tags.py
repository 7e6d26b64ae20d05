"""Fine-tuning of a token classifier by `fastif train`, and the audit after it."""

import pytest
import tag_world
import torch
from tag_world import TAGS, Truth, read_effects, read_rows

from tasks.audit.in_process import audit_in_process
from tasks.models.finetune import train_model
from tasks.models.training_record import read_record
from tasks.run.spec import plan_run

TRAINING = {"base": "base", "trainable": "all", "epochs": 30, "learning_rate": 1e-2}
TRAINED = {"model": {"path": "trained"}, "training": {**TRAINING, "batch_size": 10}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "made"
    tag_world.make(folder)
    study = tag_world.write_study(folder, **TRAINED)
    return study, train_model.fn(str(study))


def test_a_trained_model_fits_its_tags(trained):
    study, result = trained
    rows = read_rows(study.parent, "train")
    counts = torch.tensor([sum(row["tags"].count(tag) for row in rows) for tag in TAGS]).double()
    shares = counts[counts > 0] / counts.sum()
    constant = -float((counts[counts > 0] * shares.log()).sum()) / len(rows)
    assert result.loss < 0.8 * constant
    assert 0 <= result.accuracy <= 1
    assert train_model.fn(str(study)).skipped


def test_the_audit_has_the_loss_of_the_training(trained):
    study, result = trained
    store, run = audit_in_process(plan_run(study))
    rows = store.scan("train", run).collect()
    assert rows["trained"].all()
    assert result.loss == pytest.approx(float(rows["loss"].mean()), rel=1e-4)
    assert result.accuracy == pytest.approx(float(rows["correct"].mean()))
    folder = study.parent
    (folder / "model").rename(folder / "earlier")
    (folder / "trained").rename(folder / "model")
    expected = Truth(folder).effects(read_rows(folder, "queries"), read_rows(folder, "train"), 0.01)
    (folder / "model").rename(folder / "trained")
    (folder / "earlier").rename(folder / "model")
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()


def test_the_record_names_the_tagged_sub_words(trained):
    study, _ = trained
    changed = tag_world.write_study(
        study.parent, "all.toml", **{**TRAINED, "model": {"path": "all", "subwords": "all"}}
    )
    train_model.fn(str(changed))
    record = read_record(study.parent / "all")
    assert record is not None
    assert record.study is not None
    assert record.study["subwords"] == "all"
    other = tag_world.write_study(study.parent, "other.toml", model={"path": "all"})
    store, run = audit_in_process(plan_run(other))
    (notes,) = store.scan("runs", run).select("training").collect()["training"]
    assert "[model] subwords" in str(notes)
