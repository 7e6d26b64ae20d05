"""The example of examples/digits: its backbone, its images, and its study."""

import csv
import json
import sys

import pytest
import torch

from tasks.data.inputs import read_inputs
from tasks.models.model_function import import_model_function
from tasks.study.study import load_study
from tests.docs.blocks import ROOT

FOLDER = ROOT / "examples" / "digits"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example as an editable install leaves it; its folder of results is a temporary one."""
    record = tmp_path / "site" / "efficientnet_digits-0.1.0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: efficientnet-digits\nVersion: 0.1.0\n"
    )
    source = {"url": FOLDER.as_uri(), "dir_info": {"editable": True}}
    (record / "direct_url.json").write_text(json.dumps(source))
    for path in (tmp_path / "site", FOLDER):
        monkeypatch.syspath_prepend(path)
    for name in ("efficientnet_digits", "prepare"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import prepare  # type: ignore[misc]

    monkeypatch.setattr(prepare, "OUT", tmp_path / "out")
    return prepare


@pytest.mark.long
def test_the_classifier_is_its_head_on_the_features(example, tmp_path):
    """Weights of ImageNet tell digits apart: a head on 100 of them predicts most of the others."""
    rows = example.write_data(tmp_path / "out", 100, 40)
    features = example.compute_features([path for path, _ in rows])
    head = example.fit_head(features, torch.tensor([label for _, label in rows]))
    (tmp_path / "out" / "model").mkdir()
    example.save_file(head.state_dict(), tmp_path / "out" / "model" / example.HEAD)
    module, loss, collate, backbone = import_model_function("efficientnet_digits:load").call(
        tmp_path / "out" / "model"
    )
    (tmp_path / "study.toml").write_text((FOLDER / "study.toml").read_text())
    inputs = read_inputs(tmp_path / "study.toml")
    assert (len(inputs.train), len(inputs.queries)) == (100, 40)
    files = [tmp_path / "out" / "queries" / name for name in inputs.queries.ids]
    batch = collate([{"image": path.read_bytes()} for path in files])
    with torch.no_grad():
        logits, values = module.eval()(batch), backbone(batch)
    expected = values @ head.weight.T + head.bias
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=1e-4)
    assert loss is None
    assert (logits.argmax(1) == torch.tensor(inputs.queries.labels)).double().mean() > 0.6


def test_the_list_of_wrong_labels_is_complete(example, tmp_path):
    """One in 20 files lies in another folder than the digit it shows."""
    rows = example.write_data(tmp_path / "out", 100, 40)
    with (tmp_path / "out" / "flipped.csv").open() as file:
        flipped = {row["id"]: row for row in csv.DictReader(file)}
    assert len(flipped) == 5
    digits = example.load_digits()
    for path, label in rows:
        name = path.relative_to(tmp_path / "out" / "train").as_posix()
        true = str(digits.target[int(path.stem)])
        assert (str(label) != true) == (name in flipped)
        assert name not in flipped or flipped[name]["true"] == true


def test_the_penalty_of_the_study_is_that_of_the_head(example):
    """λ of the study is the penalty with which the head was fitted."""
    study = load_study(FOLDER / "study.toml")
    assert study.penalty == example.PENALTY
    assert study.labels == tuple(str(digit) for digit in range(example.CLASSES))
