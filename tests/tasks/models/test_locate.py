"""Models and data sets by path: the hub is used only for names that begin with `hub:`."""

import logging

import huggingface_hub
import pytest
import tiny

from fastif import InputError
from tasks.data.readers import read_source
from tasks.models.locate import (
    find_base_folder,
    find_classifier_folder,
    find_encoder_folder,
    find_model_folder,
    find_model_folders,
)
from tasks.study.errors import StudyError
from tasks.study.sections import TableSource
from tasks.study.study import load_study

PATHS = ["out/model", "models/x", "mymodel", "owner/name", "out\\model", "C:\\models\\x", "../x"]


@pytest.fixture
def fetched(monkeypatch, tmp_path_factory) -> list[str]:
    """Names that were requested from the hub."""
    names: list[str] = []
    snapshot = tmp_path_factory.mktemp("snapshot")
    (snapshot / "model.safetensors").write_bytes(b"")

    def download(name: str, **_: object) -> str:
        names.append(name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return names


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_no_folder_is_refused_without_a_hub_request(tmp_path, fetched, path):
    base = {"base": path}
    named = {"encoder": path, "judge": path}
    plain = load_study(tiny.write_study(tmp_path, model={"path": path}, mislabels=named))
    several = load_study(tiny.write_study(tmp_path, "s.toml", top={"models": [path]}))
    trained = load_study(tiny.write_study(tmp_path, "t.toml", training=base))
    (tmp_path / "model").mkdir()
    cases = [
        (find_model_folder, plain),
        (find_encoder_folder, plain),
        (find_classifier_folder, plain),
        (find_model_folders, several),
        (find_base_folder, trained),
    ]
    for find, study in cases:
        with pytest.raises(InputError, match="no folder") as caught:
            find(study)
        assert str(tmp_path) in str(caught.value)
        assert ('"hub:owner/name"' in str(caught.value)) == (path == "owner/name")
    assert not fetched


def test_a_hub_name_is_downloaded_and_logged_first(tmp_path, fetched, caplog, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    study = load_study(tiny.write_study(tmp_path, model={"path": "hub:owner/name"}))
    with caplog.at_level(logging.WARNING):
        find_model_folder(study)
    assert fetched == ["owner/name"]
    assert "[model] path: downloading owner/name" in caplog.text


def test_the_model_of_a_training_is_a_folder_and_not_a_hub_name(tmp_path):
    study = tiny.write_study(tmp_path, model={"path": "hub:a/b"}, training={"base": "base"})
    with pytest.raises(StudyError, match=r"\[model\] path"):
        load_study(study)


def weights(folder, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)


def test_copies_of_the_study_s_models_count_as_trained_on_its_labels(tmp_path):
    weights(tmp_path / "model", b"abc")
    weights(tmp_path / "seed", b"def")
    weights(tmp_path / "copy", b"abc")
    weights(tmp_path / "other", b"abd")
    (tmp_path / "link").symlink_to("seed")
    cases = {"model": True, "./model": True, "seed": True, "link": True, "copy": True}
    for name, expected in (cases | {"other": False}).items():
        named = {"encoder": name, "judge": name}
        top = {"models": ["seed"]}
        study = load_study(tiny.write_study(tmp_path, top=top, mislabels=named))
        assert find_encoder_folder(study)[1] is expected, name
        if expected:
            with pytest.raises(InputError, match=r"\[mislabels\] judge"):
                find_classifier_folder(study)
        else:
            assert find_classifier_folder(study) == tmp_path / "other"


@pytest.mark.parametrize("name", ["data/train", "owner/name", "train"])
def test_a_data_set_that_is_no_folder_is_refused_without_a_hub_request(tmp_path, name, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: pytest.fail("it was looked up"))
    source = TableSource(dataset=name, text=("text",), label="label")
    with pytest.raises(StudyError, match="no folder") as caught:
        read_source(source, ["text", "label"], tmp_path, "train")
    assert f'"hub:{name}"' in str(caught.value)
