"""Studies that cannot be audited or trained: each is refused with place, expected, got, remedy."""

import json
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from flows.cli import app as cli
from flows.cli.common import err
from tasks.models.training_record import RECORD_FILE


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setattr(err, "_width", 400)


def refusal(*args) -> str:
    done = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    output = " ".join(done.stderr.split())
    assert done.exit_code == 2, done.output
    assert "Refused." in output
    assert "Traceback" not in output
    return output


def change_config(world, name="model", **changes):
    path = world / name / "config.json"
    known = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(known))


def change_weights(world, change, name="model"):
    path = world / name / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def change_rows(world, change):
    table = tiny.rows_of(world / "train.csv")
    tiny.write_rows(world / "train.csv", change(table))


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def write_file_at(path):
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")


def label_all_negative(table):
    return [{**row, "label": "neg"} for row in table]


AUDITS = {
    "an empty folder": (lambda w: empty_folder(w / "model"), "as save_pretrained writes it"),
    "a file for a model": (lambda w: write_file_at(w / "model"), "got a file"),
    "a list for a configuration": (
        lambda w: (w / "model" / "config.json").write_text("[1]"),
        "save_pretrained",
    ),
    "an unknown kind": (lambda w: change_config(w, model_type="megamodel"), "megamodel"),
    "no width": (lambda w: change_config(w, hidden_size=0), "model"),
    "another width": (lambda w: change_config(w, hidden_size=24), "weights of other shapes"),
    "fewer layers than were saved": (
        lambda w: change_config(w, num_hidden_layers=2),
        "as many layers in its config.json as in its weights; got more in the weights, "
        "such as bert.encoder.layer.2.",
    ),
    "more layers than were saved": (
        lambda w: change_config(w, num_hidden_layers=5),
        "no weights for",
    ),
    "a header beyond the file": (
        lambda w: (w / "model" / "model.safetensors").write_bytes(b"\xff" * 99),
        "header",
    ),
    "a folder for weights": (
        lambda w: (
            (w / "model" / "model.safetensors").unlink(),
            (w / "model" / "model.safetensors").mkdir(),
        ),
        "Is a directory",
    ),
    "a tokenizer of nothing": (
        lambda w: (w / "model" / "tokenizer.json").write_text("{}"),
        "tokenizer",
    ),
    "a name that is none": (
        lambda w: tiny.write_study(w, model={"path": "no body!!"}),
        "no body!!",
    ),
    "NUL in a path": (lambda w: tiny.write_study(w, store={"path": "a\0b"}), "[store] path"),
    "a store without room": (
        lambda w: tiny.write_study(w, store={"path": "/proc/store"}),
        "[store] path",
    ),
    "one class": (lambda w: change_rows(w, label_all_negative), "2 or more different labels"),
    "a length of no token": (
        lambda w: tiny.write_study(w, model={"path": "model", "max_length": 2}),
        "at least 3",
    ),
    "numbers of thousands of digits": (
        lambda w: (w / "study.toml").write_text("a = " + "9" * 5000),
        "valid TOML",
    ),
}


@pytest.mark.parametrize("case", AUDITS.values(), ids=list(AUDITS))
def test_an_audit_is_refused_and_leaves_nothing(world, case):
    spoil, expected = case
    spoil(world)
    before = sorted(world.rglob("*"))
    assert expected in refusal("audit", "--dry-run", world / "study.toml")
    assert sorted(world.rglob("*")) == before


def study(world, training=None, **changes):
    training = {"base": "base", "epochs": 1, **(training or {})}
    return tiny.write_study(
        world, training=training, **{"model": {"path": "out/m", "max_length": 10}, **changes}
    )


LABELS_ALONE = """
name = "alone"
labels = ["neg", "pos"]
[train]
table = "train.csv"
text = "text"
label = "label"
[mislabels]
encoder = "base"
[store]
path = "alone"
"""
ENCODERS = {
    "NaN": (
        lambda w: change_weights(w, lambda t: next(iter(t.values())).fill_(torch.nan), "base"),
        "finite weights",
    ),
    "layers of random choice": (
        lambda w: change_config(w, "base", num_hidden_layers=7),
        "the weights of all its layers",
    ),
    "another shape": (
        lambda w: change_config(w, "base", hidden_size=24),
        "weights of other shapes",
    ),
}


@pytest.mark.parametrize("case", ENCODERS.values(), ids=list(ENCODERS))
def test_an_unusable_encoder_is_refused(world, case):
    spoil, expected = case
    spoil(world)
    (world / "alone.toml").write_text(LABELS_ALONE)
    for options in (["--dry-run"], []):
        assert expected in refusal("mislabels", *options, world / "alone.toml")


def test_a_judge_that_cannot_be_found_is_refused_by_a_dry_run_too(world):
    study = tiny.write_study(world, mislabels={"encoder": "base", "judge": "no/such/judge"})
    assert "[mislabels] judge" in refusal("mislabels", "--dry-run", study)


TRAININGS = {
    "an empty base": (lambda w: empty_folder(w / "base"), "as save_pretrained writes it"),
    "a file for a base": (lambda w: write_file_at(w / "base"), "[training] base"),
    "a base of more layers": (
        lambda w: change_config(w, "base", num_hidden_layers=7),
        "a base with the weights of all",
    ),
    "a base of another width": (
        lambda w: change_config(w, "base", intermediate_size=20),
        "of another shape, such as",
    ),
    "a base of another kind": (
        lambda w: change_config(w, "base", model_type="gpt2"),
        "weights of all",
    ),
    "a base that is no text model": (lambda w: change_config(w, "base", model_type="vit"), "vit"),
    "a base with NaN": (
        lambda w: change_weights(w, lambda t: next(iter(t.values())).fill_(torch.nan), "base"),
        "finite weights",
    ),
    "one class": (lambda w: change_rows(w, label_all_negative), "2 or more different labels"),
    "one row": (lambda w: change_rows(w, lambda table: table[:1]), "2 or more different labels"),
    "a file for a model": (lambda w: write_file_at(w / "out" / "m"), "a folder; got a file"),
    "no room for a model": (
        lambda w: study(w, model={"path": "/proc/m", "max_length": 10}),
        "room for about",
    ),
    "a decay that turns over": (lambda w: study(w, {"weight_decay": 1e29}), "weight_decay"),
    "checkpoints of one name": (
        lambda w: study(w, {"checkpoints": [0.5, 0.50000001]}),
        "six digits",
    ),
}


@pytest.mark.parametrize("case", TRAININGS.values(), ids=list(TRAININGS))
def test_a_training_is_refused_and_leaves_nothing(world, case):
    spoil, expected = case
    study(world)
    spoil(world)
    before = sorted(world.rglob("*"))
    assert expected in refusal("train", world / "study.toml")
    assert sorted(world.rglob("*")) == before


@pytest.mark.default_cases(
    "dtype0",
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_base_of_any_precision_is_trained_in_single(world, dtype):
    """As if its weights had been written in single precision."""

    def cast(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(torch.bfloat16).to(dtype)

    change_weights(world, cast, "base")
    path = study(world)
    assert CliRunner().invoke(cli.app, ["train", str(path)]).exit_code == 0
    saved_tensors = load_file(world / "out" / "m" / "model.safetensors")
    assert {tensor.dtype for tensor in saved_tensors.values() if tensor.is_floating_point()} == {
        torch.float32
    }
    change_weights(world, lambda t: t.update({n: v.float() for n, v in t.items()}), "base")
    other = study(world, model={"path": "out/single", "max_length": 10})
    assert CliRunner().invoke(cli.app, ["train", str(other)]).exit_code == 0
    single = load_file(world / "out" / "single" / "model.safetensors")
    assert all(torch.equal(saved_tensors[name], single[name]) for name in single)


@pytest.mark.default_cases(
    "[1]",
    '{"fing',
)
@pytest.mark.parametrize("damage", [b"[1]", b"\xff\xfe", b'{"fing'])
def test_an_invalid_record_is_no_checkpoint(world, damage):
    path = study(world)
    assert CliRunner().invoke(cli.app, ["train", str(path)]).exit_code == 0
    (world / "out" / "m" / RECORD_FILE).write_bytes(damage)
    done = CliRunner().invoke(cli.app, ["train", str(path)])
    assert (done.exit_code, "Model trained" in done.output) == (0, True), done.output
