"""`fastif train`: a checkpoint trained once, and its use by the audit."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fastif import InputError, load_model, predict
from tasks.data.inputs import read_inputs
from tasks.data.row_hashes import row_digests
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.results import read_result
from tasks.models import finetune as train
from tasks.models.finetune import find_checkpoint, train_model
from tasks.models.training_record import RECORD_FILE
from tasks.planning.open_run import load_run
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.spec import open_existing_store, plan_run
from tasks.study.errors import StudyError
from tasks.study.study import load_study

RECIPE = {"base": "base", "epochs": 40, "learning_rate": 5e-3, "batch_size": 16}


def write(world: Path, **changes: object) -> Path:
    return tiny.write_study(world, model={"path": "out/trained"}, training={**RECIPE, **changes})


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


@pytest.fixture(scope="module")
def checkpoint(made, tmp_path_factory) -> Path:
    """The folder that training the tiny study writes; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("trained") / "world")
    train_model.fn(str(write(folder)))
    return folder / "out"


@pytest.fixture
def trained(world, checkpoint):
    study = write(world)
    assert find_checkpoint(study) is None
    shutil.copytree(checkpoint, world / "out")
    return study, find_checkpoint(study), world / "out" / "trained"


def test_the_checkpoint_is_safetensors_with_a_record(world):
    study, folder = write(world), world / "out" / "trained"
    result = train_model.fn(str(study))
    assert not result.skipped
    assert Path(result.folder) == folder
    assert (folder / "model.safetensors").is_file()
    assert not [p for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".tmp")]
    assert not list(folder.parent.glob(".*")), "no temporary files are left"
    record = json.loads((folder / RECORD_FILE).read_text())
    assert record["recipe"]["epochs"] == RECIPE["epochs"]
    assert record["recipe"]["learning_rate"] == RECIPE["learning_rate"]
    assert record["accuracy"] == result.accuracy
    assert "torch" in record["versions"]
    assert len(record["fingerprint"]) == 64


def test_only_the_trainable_layers_have_changed(trained, world):
    _, _, folder = trained
    before = load_file(world / "base" / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    moved = {
        name for name, tensor in before.items() if not torch.equal(tensor, after[f"bert.{name}"])
    }
    assert moved
    assert all(name.startswith(("encoder.layer.2.", "pooler.")) for name in moved)
    assert len(moved) == sum(n.startswith(("encoder.layer.2.", "pooler.")) for n in before)


def plain_losses(folder: Path, rows: list[dict[str, str]]) -> torch.Tensor:
    """Losses by Hugging Face, one row at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == dict(enumerate(tiny.LABELS))
    losses = []
    with torch.no_grad():
        for row in rows:
            given = tokenizer(
                row["text"], truncation=True, max_length=tiny.MAX_LENGTH, return_tensors="pt"
            )
            label = torch.tensor([tiny.LABELS.index(row["label"])])
            losses.append(model(**given, labels=label).loss)
    return torch.stack(losses)


def test_the_reloaded_model_has_the_reported_losses_in_training_and_audit(trained, world):
    study, result, folder = trained
    plain = plain_losses(folder, tiny.rows_of(world / "train.csv"))
    assert result.loss == pytest.approx(float(plain.mean()), abs=1e-5)
    context = load_run(plan_run(study))
    assert context.objective.num_frozen_layers == 2, "the frozen layers run once"
    for rows, name in (
        (get_train_examples(context), "train"),
        (get_query_examples(context), "queries"),
    ):
        _, losses = predict(context.objective, rows)
        expected = plain_losses(folder, tiny.rows_of(world / f"{name}.csv"))
        assert torch.allclose(losses, expected, atol=1e-5)
    assert result.loss < 0.6, "the loss must fall"
    assert result.accuracy > 0.65


def test_training_again_is_skipped_and_writes_nothing(trained, world):
    study, first, _ = trained
    before = files(world)
    again = train_model.fn(str(study))
    assert again.skipped
    assert (again.loss, again.accuracy, again.folder) == (first.loss, first.accuracy, first.folder)
    assert find_checkpoint(study) == again
    assert files(world) == before


@pytest.mark.long
def test_training_is_determined_by_the_seed(trained, world):
    study, first, folder = trained
    weights = load_file(folder / "model.safetensors")
    write(world, seed=7)
    assert train_model.fn(str(study)).loss != first.loss
    write(world)
    assert train_model.fn(str(study)).loss == first.loss
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


@pytest.mark.default_cases("row", "weights")
@pytest.mark.parametrize(
    "change", ["row", "epochs", "weights", "base", "record", "learning_rate", "max_length"]
)
def test_a_changed_study_is_trained_again(trained, world, change):
    study, _, folder = trained
    if change == "row":
        rows = tiny.rows_of(world / "train.csv")
        rows[8]["text"] += " not"
        tiny.write_rows(world / "train.csv", rows)
    elif change == "weights":
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    elif change == "base":
        config = json.loads((world / "base" / "config.json").read_text())
        config["layer_norm_eps"] = 1e-6
        (world / "base" / "config.json").write_text(json.dumps(config))
    elif change == "record":
        (folder / RECORD_FILE).write_text('{"finger')
    elif change == "max_length":
        tiny.write_study(world, model={"path": "out/trained", "max_length": 9}, training=RECIPE)
    else:
        write(world, **{change: 2})
    if change == "learning_rate":
        write(world, learning_rate=0.01)
    assert find_checkpoint(study) is None
    result = train_model.fn(str(study))
    assert not result.skipped
    assert find_checkpoint(study) is not None
    assert not list(folder.parent.glob(".*"))


@pytest.mark.default_cases("weights-0.25")
@pytest.mark.parametrize("part", [0.25, 0.5])
@pytest.mark.parametrize("change", ["gone", "weights", "record", "of another training"])
def test_training_is_repeated_if_an_intermediate_checkpoint_is_changed(world, change, part):
    study, folder = write(world, checkpoints=[0.25, 0.5], epochs=2), world / "out" / "trained"
    train_model.fn(str(study))
    assert train_model.fn(str(study)).skipped
    inside = folder / f"checkpoint-{part}"
    weights = (inside / "model.safetensors").read_bytes()
    if change == "gone":
        shutil.rmtree(inside)
    elif change == "weights":
        (inside / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    else:
        (inside / RECORD_FILE).write_text("{}" if change == "of another training" else '{"finger')
    assert find_checkpoint(study) is None
    assert not train_model.fn(str(study)).skipped
    assert (inside / "model.safetensors").read_bytes() == weights
    assert train_model.fn(str(study)).skipped


@pytest.mark.default_cases("error0")
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_earlier_model_and_no_temporary_files(world, monkeypatch, error):
    """The second of two folders cannot be written."""
    study, folder = write(world, checkpoints=[0.5], epochs=2), world / "out" / "trained"
    train_model.fn(str(study))
    before = files(world)
    save = train.save_model

    def fail_to_save(model, tokenizer, to, *rest):
        save(model, tokenizer, to, *rest)
        if to.name == "checkpoint-0.5":
            raise error

    monkeypatch.setattr(train, "save_model", fail_to_save)
    write(world, checkpoints=[0.5], epochs=3)
    with pytest.raises(type(error)):
        train_model.fn(str(study))
    assert {path.name for path in folder.parent.iterdir()} == {"trained"}
    write(world, checkpoints=[0.5], epochs=2)
    assert files(world) == before | {"study.toml": files(world)["study.toml"]}
    assert train_model.fn(str(study)).skipped


@pytest.mark.parametrize("change", ["path of the base", "queries"])
def test_settings_that_change_no_weights_do_not_train_again(trained, world, change):
    study, _, _ = trained
    if change == "queries":
        (world / "queries.csv").unlink()
    else:
        (world / "base").rename(world / "moved")
        write(world, base="moved")
    assert train_model.fn(str(study)).skipped


def test_a_folder_of_other_files_is_not_replaced(world):
    study = write(world)
    folder = world / "out" / "trained"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("somebody's weights")
    before = files(world)
    for attempt in (find_checkpoint, lambda path: train_model.fn(str(path))):
        with pytest.raises(InputError, match="a folder with other files"):
            attempt(study)
    assert files(world) == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base": "no/such/base"}, "no folder"),
        ({"base": "nobody-has-this"}, "no folder"),
        ({"base": "hub:nobody-has-this"}, "an accessible hub model"),
        ({"base": "package:nowhere/model"}, "pip install"),
        ({"base": "package:tasks/nowhere"}, "Correct the path"),
        ({"trainable": ["nothing_like_it"]}, "nothing_like_it"),
        ({"learning_rate": 1e30}, "[training] learning_rate"),
    ],
)
def test_invalid_training_is_refused_and_leaves_no_files(world, changes, expected):
    study = write(world, **changes)
    before = files(world)
    with pytest.raises((InputError, StudyError)) as caught:
        train_model.fn(str(study))
    assert expected in str(caught.value)
    assert files(world) == before


def test_a_base_may_be_in_an_installed_package(world, monkeypatch):
    package = world / "site" / "tiny_bert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    (world / "base").rename(package / "model")
    monkeypatch.syspath_prepend(world / "site")
    study = write(world, base="package:tiny_bert/model")
    assert not train_model.fn(str(study)).skipped


@pytest.mark.long
def test_training_records_the_margin_of_each_row(trained, world):
    """The margin is stored next to the model, and is a column of the label-error search."""
    study, _, folder = trained
    kept = pl.read_parquet(folder / "fastif-dynamics.parquet")
    assert len(kept) == tiny.TRAIN
    digest = detect_mislabels.fn(str(study))
    table = read_result(open_existing_store(load_study(study)), digest).table
    rows = row_digests(read_inputs(study).train, tiny.LABELS)
    margins = dict(kept.group_by("row").agg(pl.col("margin").mean()).iter_rows())
    assert table["trained_margin"].to_list() == pytest.approx([-margins[row] for row in rows])
    model = load_model(folder)
    losses = {"neg": 0, "pos": 1}
    tokens = AutoTokenizer.from_pretrained(folder)(table["text"].to_list(), padding=True,
                                                   return_tensors="pt")  # fmt: skip
    logits = model(**tokens).logits.detach()
    own = torch.tensor([losses[label] for label in table["label"]])
    lead = logits.gather(1, own[:, None])[:, 0] - logits.gather(1, 1 - own[:, None])[:, 0]
    # Rows with a low final loss had, on average, a large margin during training.
    both = torch.stack([lead, -torch.tensor(table["trained_margin"].to_list())])
    assert torch.corrcoef(both)[0, 1] > 0.5


@pytest.mark.long
def test_a_model_that_was_trained_elsewhere_has_no_dynamics(world):
    study = tiny.write_study(world, training={"base": "base"})
    digest = detect_mislabels.fn(str(study))
    table = read_result(open_existing_store(load_study(study)), digest).table
    assert table["trained_margin"].null_count() == len(table)
