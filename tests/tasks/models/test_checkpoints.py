"""Checkpoints of a training: kept by `fastif train`, and found in folders of other trainings."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from tasks.models import trained_folder
from tasks.models.checkpoints import list_checkpoints, search_checkpoints
from tasks.models.finetune import find_checkpoint, train_model
from tasks.models.training_record import RECORD_FILE

RECIPE = {"base": "base", "epochs": 4, "learning_rate": 5e-3, "batch_size": 16}
FRACTIONS = [0.125, 0.25, 0.5]
SIZES = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 20,
}


def write(world: Path, **changes: object) -> Path:
    return tiny.write_study(world, model={"path": "out/trained"}, training={**RECIPE, **changes})


@pytest.fixture(scope="module")
def trained_out(made, tmp_path_factory) -> Path:
    """The folder that training without the key `checkpoints` writes; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("trained") / "world")
    train_model.fn(str(write(folder)))
    return folder / "out"


@pytest.fixture
def trained(world, trained_out):
    shutil.copytree(trained_out, world / "out")
    return write(world), world / "out" / "trained"


def fractions(folder: Path) -> list[float]:
    return [checkpoint.fraction for checkpoint in list_checkpoints(folder)]


def reasons(folder: Path) -> dict[str, str]:
    return {ignored.folder.name: ignored.reason for ignored in search_checkpoints(folder).ignored}


def test_training_keeps_three_checkpoints_that_lie_on_its_way(trained, world):
    study, folder = trained
    assert [(c.fraction, c.folder) for c in list_checkpoints(folder)] == [
        (part, folder / f"checkpoint-{part:g}") for part in FRACTIONS
    ]
    size = 3 * (folder / "model.safetensors").stat().st_size / 1e6
    result = find_checkpoint(study)
    assert result.note == f"Checkpoints at 0.125, 0.25, 0.5 of the training: {size:.1f} MB."
    # A stated checkpoint of the same training has the same weights: 0.5 of 16 steps is step 8.
    write(world, checkpoints=[0.5])
    kept = load_file(folder / "checkpoint-0.5" / "model.safetensors")
    train_model.fn(str(study))
    again = load_file(folder / "checkpoint-0.5" / "model.safetensors")
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert fractions(folder) == [0.5]


def test_a_model_without_checkpoints_is_not_trained_again(trained, world):
    """As models of earlier versions are, whose records state the fingerprint of an empty list."""
    study, folder = trained
    write(world, checkpoints=[])
    assert train_model.fn(str(study)).skipped, "an empty list needs none"
    shutil.rmtree(folder / "checkpoint-0.25")
    write(world)
    result = train_model.fn(str(study))
    assert result.skipped
    assert "at 0.125, 0.5 of" in result.note
    for part in (0.125, 0.5):
        shutil.rmtree(folder / f"checkpoint-{part}")
    assert train_model.fn(str(study)).note == ""
    assert search_checkpoints(folder).checkpoints == search_checkpoints(folder).ignored == ()


def test_a_full_disk_costs_the_checkpoints_and_not_the_model(world, monkeypatch):
    study, folder = write(world), world / "out" / "trained"
    size = sum(file.stat().st_size for file in (world / "base").glob("*.safetensors"))
    monkeypatch.setattr(trained_folder, "count_free_bytes", lambda _: 4 * size - 1)
    result = train_model.fn(str(study))
    assert result.note.startswith(f"No checkpoints were kept: 3 of them take {size / 1e6:.1f} MB")
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("checkpoint-*"))


def test_checkpoints_of_one_step_are_kept_once(world):
    """The tiny table has 60 rows: one epoch of 30 has two steps, so 1/8, 1/4 and 1/2 are step 1."""
    study = write(world, epochs=1, batch_size=30)
    train_model.fn(str(study))
    assert fractions(world / "out" / "trained") == [0.5]


def _tamper(inside: Path, change: str) -> None:
    weights = inside / "model.safetensors"
    if change == "half written":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif change == "weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    elif change == "another training":
        record = json.loads((inside / RECORD_FILE).read_text())
        (inside / RECORD_FILE).write_text(json.dumps({**record, "fingerprint": "0" * 64}))
    elif change == "configuration":
        (inside / "config.json").unlink()
    elif change == "name":
        inside.rename(inside.with_name("checkpoint-best"))
    elif change == "labels":
        config = json.loads((inside / "config.json").read_text())
        config["id2label"] = {"0": "pos", "1": "neg"}
        (inside / "config.json").write_text(json.dumps(config))
    elif change == "tokenizer":
        tokenizer = json.loads((inside / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["extra"] = len(tokenizer["model"]["vocab"])
        (inside / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif change == "pickle":
        weights.rename(inside / "pytorch_model.bin")
    elif change == "final weights":
        shutil.copy(inside.parent / "model.safetensors", weights)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("half written", "model.safetensors: damaged or incomplete"),
        ("weights", "its files have changed since `fastif train`"),
        ("another training", "of another training than the model"),
        ("configuration", "incomplete: no config.json"),
        ("name", "its name checkpoint-best has no fraction"),
        ("labels", "its labels in config.json differ"),
        ("tokenizer", "its tokenizer differs from the model's: tokenizer.json"),
        ("pickle", "Save its weights as safetensors"),
        ("final weights", "it has the weights of the model"),
    ],
)
def test_a_changed_checkpoint_is_ignored_with_its_reason(trained, change, expected):
    _, folder = trained
    _tamper(folder / "checkpoint-0.25", change)
    assert fractions(folder) == [0.125, 0.5]
    (reason,) = reasons(folder).values()
    assert reason.startswith(expected)


def _save(folder: Path, seed: int, step: int = 0, last: int = 100, **config: object) -> Path:
    """Write a model as the Trainer of transformers does, of other weights for each seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(BertConfig(**{**SIZES, **config}))
    model.save_pretrained(folder)
    if step:
        log = [{"step": at, "loss": 1 / at, "learning_rate": 1e-4} for at in range(10, step, 10)]
        state = {"global_step": step, "max_steps": last, "log_history": log}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


@pytest.fixture
def foreign(tmp_path) -> Path:
    """An output folder of the Trainer: the final model and checkpoints of 100 steps in it."""
    _save(tmp_path / "out", 0)
    for step in (25, 50, 100):
        _save(tmp_path / "out" / f"checkpoint-{step}", 0 if step == 100 else step, step)
    return tmp_path / "out"


def test_checkpoints_of_the_trainer_are_found_by_their_steps(foreign):
    assert [(c.fraction, c.folder.name) for c in list_checkpoints(foreign)] == [
        (0.25, "checkpoint-25"),
        (0.5, "checkpoint-50"),
    ]
    assert reasons(foreign) == {"checkpoint-100": "it has the weights of the model"}


def test_a_checkpoint_as_the_model_has_the_earlier_ones_beside_it(foreign):
    """The fraction is that of the model's own training, which ended at step 50."""
    search = search_checkpoints(foreign / "checkpoint-50")
    assert [(c.fraction, c.folder.name) for c in search.checkpoints] == [(0.5, "checkpoint-25")]
    assert [i.reason for i in search.ignored] == ["at step 100, not before the model's 50"]


def test_the_best_model_in_the_output_folder_ends_where_its_checkpoint_does(foreign):
    """As with load_best_model_at_end: the final weights are those of step 50."""
    _save(foreign, 50)
    assert fractions(foreign) == [0.5]
    assert "not before the model's 50" in reasons(foreign)["checkpoint-100"]


def test_a_final_model_beside_its_checkpoints_has_them(foreign):
    final = _save(foreign / "final", 7)
    assert fractions(final) == [0.25, 0.5]


def test_checkpoints_of_other_trainings_are_ignored(foreign):
    _save(foreign / "checkpoint-30", 1, 30, hidden_act="relu")
    _save(foreign / "checkpoint-40", 2, 40, vocab_size=21)
    _save(foreign / "checkpoint-60", 3, 60)
    state = json.loads((foreign / "checkpoint-60" / "trainer_state.json").read_text())
    state["log_history"][0]["loss"] = 7.0
    (foreign / "checkpoint-60" / "trainer_state.json").write_text(json.dumps(state))
    _save(foreign / "checkpoint-70", 4)
    _save(foreign / "checkpoint-80", 5, 80, id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    assert fractions(foreign) == [0.25, 0.5]
    assert reasons(foreign) == {
        "checkpoint-100": "it has the weights of the model",
        "checkpoint-30": "of another architecture: hidden_act in config.json differ",
        "checkpoint-40": "of another architecture: vocab_size in config.json differ",
        "checkpoint-60": "of another training than the model, by the log in their "
        "trainer_state.json",
        "checkpoint-70": "no trainer_state.json with global_step and max_steps",
        "checkpoint-80": "its labels in config.json differ from the model's",
    }


def test_a_missing_shard_makes_a_checkpoint_incomplete(foreign):
    inside = foreign / "checkpoint-25"
    tensors = load_file(inside / "model.safetensors")
    names = sorted(tensors)
    (inside / "model.safetensors").unlink()
    save_file({names[0]: tensors[names[0]]}, inside / "model-00001-of-00002.safetensors")
    index = {names[0]: "model-00001-of-00002.safetensors"}
    index |= dict.fromkeys(names[1:], "model-00002-of-00002.safetensors")
    (inside / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert fractions(foreign) == [0.5]
    assert "model-00002-of-00002.safetensors: missing" in reasons(foreign)["checkpoint-25"]


def test_checkpoints_of_a_real_trainer_are_found(tmp_path):
    """Steps 4 and 8 of 12; the checkpoint of step 12 has the weights of the saved model."""
    pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
    from tests.fastif.unrolled.small_trainers import make_trainer

    trainer = make_trainer(tmp_path, save_strategy="steps", save_steps=4, logging_steps=1)
    trainer.train()
    for place in (tmp_path / "out", tmp_path / "out" / "final"):
        trainer.save_model(str(place))
        assert [(round(c.fraction, 6), c.folder.name) for c in list_checkpoints(place)] == [
            (0.333333, "checkpoint-4"),
            (0.666667, "checkpoint-8"),
        ]
        assert reasons(place) == {"checkpoint-12": "it has the weights of the model"}
    other = make_trainer(
        tmp_path / "other", save_strategy="steps", save_steps=4, logging_steps=1, seed=7
    )
    other.train()
    shutil.rmtree(tmp_path / "out" / "checkpoint-8")
    shutil.copytree(tmp_path / "other" / "out" / "checkpoint-8", tmp_path / "out" / "checkpoint-8")
    assert fractions(tmp_path / "out") == [pytest.approx(1 / 3)]
    assert "of another training" in reasons(tmp_path / "out")["checkpoint-8"]
