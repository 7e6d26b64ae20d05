"""Folders of models: checkpoints, recorded settings, and models for other tasks."""

import json
import shutil

import pytest
from made_tables import change_config, infer

from fastif import InputError


def test_models_for_other_tasks_are_refused(rows, classifier, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    model = shutil.copytree(classifier, tmp_path / "copy")
    change_config(model, problem_type="multi_label_classification")
    with pytest.raises(InputError, match="multi_label"):
        infer(model, tmp_path / "t.csv")
    change_config(model, architectures=["BertModel"])
    with pytest.raises(InputError, match="without a head"):
        infer(model, tmp_path / "t.csv")
    (model / "config.json").rename(model / "adapter_config.json")
    with pytest.raises(InputError, match="adapter"):
        infer(model, tmp_path / "t.csv")


def test_newest_or_best_checkpoint_of_a_training_is_taken(rows, classifier, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    for step in (9, 50, 100):
        shutil.copytree(classifier, tmp_path / "run" / f"checkpoint-{step}")
    model = infer(tmp_path / "run", tmp_path / "t.csv").model
    assert model.folder.name == "checkpoint-100"
    assert "newest of 3" in model.note
    state = '{"best_model_checkpoint": "elsewhere/checkpoint-50", "best_metric": 0.9}'
    (tmp_path / "run" / "checkpoint-100" / "trainer_state.json").write_text(state)
    model = infer(tmp_path / "run", tmp_path / "t.csv").model
    assert model.folder.name == "checkpoint-50"
    assert "best" in model.note


def test_recorded_settings_of_a_training_are_read(rows, classifier, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    model = shutil.copytree(classifier, tmp_path / "copy")
    change_config(model, _name_or_path="prajjwal1/bert-tiny")
    state = {"num_train_epochs": 4, "train_batch_size": 8, "log_history": [{"learning_rate": 2e-5}]}
    (model / "trainer_state.json").write_text(json.dumps(state))
    (model / "training_args.bin").write_bytes(b"not a pickle")
    recipe = infer(model, tmp_path / "t.csv").model.recipe
    expected = {"base": "hub:prajjwal1/bert-tiny", "epochs": 4, "batch_size": 8}
    assert recipe == expected | {"learning_rate": 2e-5}
