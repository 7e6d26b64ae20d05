"""Models of other libraries: recognised, never unpickled, refused with a way that works."""

import json
import pickle
from pathlib import Path

import command_line
import pytest
import tiny

from fastif.models.foreign_folder import find_foreign_model


class Trap:
    """An object whose loading leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def make_setfit(folder: Path) -> None:
    (folder / "config_setfit.json").write_text("{}")
    (folder / "model_head.pkl").write_bytes(pickle.dumps(Trap(folder / "loaded")))


def make_sentence_encoder(folder: Path) -> None:
    (folder / "modules.json").write_text("[]")


def make_keras(folder: Path) -> None:
    (folder / "model.keras").write_bytes(b"PK")
    (folder / "config.json").unlink()


def make_pickled(folder: Path) -> None:
    (folder / "pipeline.joblib").write_bytes(pickle.dumps(Trap(folder / "loaded")))
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_setfit, "a SetFit model"),
        (make_sentence_encoder, "a sentence encoder of sentence-transformers"),
        (make_keras, "a Keras model"),
        (make_pickled, "a pickled model"),
    ],
)
def test_init_refuses_by_name(world, monkeypatch, make, kind):
    """`fastif init` names the library and the way to use the model; no pickle is loaded."""
    monkeypatch.chdir(world)
    base = world / "base"
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    make(base)
    (world / "study.toml").unlink()
    message = command_line.run_refused(world, "init", "base", "train.csv", "queries.csv")
    assert kind in message
    assert "[model] factory" in message
    assert not (base / "loaded").exists()


def test_audit_refuses_by_name(world):
    """A study that names such a folder is refused with the same words."""
    make_setfit(world / "base")
    study = tiny.write_study(world, model={"path": "base"})
    message = command_line.run_refused(world, "audit", study, "--dry-run")
    assert "a SetFit model" in message
    assert "never loaded" in message


def test_a_pickled_file_is_no_table(world, monkeypatch):
    """A file of another library is not read as a table."""
    monkeypatch.chdir(world)
    (world / "model.pkl").write_bytes(pickle.dumps(Trap(world / "loaded")))
    (world / "study.toml").unlink()
    message = command_line.run_refused(world, "init", "model.pkl", "train.csv", "queries.csv")
    assert "a pickled model, which is never loaded" in message
    assert not (world / "loaded").exists()


def test_a_classifier_with_other_files_is_not_foreign(world, monkeypatch):
    """A classifier of transformers may have pickles of others next to it."""
    monkeypatch.chdir(world)
    (world / "model" / "scaler.pkl").write_bytes(b"")
    (world / "study.toml").unlink()
    arguments = ("model", "train.csv", "queries.csv", "--yes", "--no-forecast")
    assert command_line.run("init", *arguments)[0] == 0


def test_an_empty_folder_is_nothing(tmp_path):
    assert find_foreign_model(tmp_path) is None
