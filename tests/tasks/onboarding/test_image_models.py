"""`fastif init` of an image classifier: from a model's folder and two folders of images."""

import json

import polars as pl
import pytest

from fastif import InputError
from tasks.onboarding.model_folder import open_model
from tasks.onboarding.propose import Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.onboarding.write_study import render_proposal
from tasks.planning.open_run import validate_run
from tasks.run.spec import plan_run
from tasks.study.errors import StudyError
from tests.tasks.digits import LABELS, TRAIN, write_image_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_image_study(tmp_path_factory.mktemp("digits")).parent


def propose(folder, train="train", queries="queries"):
    request = Request(str(folder / "model"), folder / train, folder / queries)
    return propose_study(request, BestGuesses())


def test_folders_of_images_make_a_study_that_can_be_audited(folder):
    proposal = propose(folder)
    assert proposal.order.labels == tuple(LABELS)
    assert (proposal.train.image, proposal.train.id) == ("image", "path")
    assert proposal.order.accuracy > 0.9  # type: ignore[misc]
    written = folder / "written.toml"
    text = render_proposal(proposal, written, "written")
    assert "max_length" not in text
    written.write_text(text)
    context = validate_run(plan_run(written))
    assert len(context.train_examples) == TRAIN
    assert context.objective.num_frozen_layers > 0


def test_captions_next_to_images_are_not_read(folder):
    for name in ("train", "queries"):
        files = sorted((folder / name).rglob("*.png"))
        frame = pl.DataFrame({
            "file": [file.read_bytes() for file in files],
            "caption": [f"a long description of image {i} in words" for i in range(len(files))],
            "digit": [file.parent.name for file in files],
        })  # fmt: skip
        frame.write_parquet(folder / f"{name}.parquet")
    proposal = propose(folder, "train.parquet", "queries.parquet")
    assert (proposal.train.image, proposal.train.content.label) == ("file", "digit")


def test_a_table_without_images_is_refused(folder):
    frame = pl.DataFrame({"text": ["some words here", "other words"] * 5, "label": ["0", "1"] * 5})
    frame.write_csv(folder / "texts.csv")
    with pytest.raises(StudyError, match="folder of images by class"):
        propose(folder, "texts.csv", "texts.csv")


def test_names_of_a_timm_model_are_its_label_names(tmp_path):
    config = {"architecture": "resnet18", "num_classes": 2, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": ["a", "b"]}))
    assert open_model(str(tmp_path)).names == ("a", "b")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert open_model(str(tmp_path)).names == ("LABEL_0", "LABEL_1")
    assert open_model(str(tmp_path)).reads_images
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTModel"]}))
    with pytest.raises(InputError, match="AutoModelForImageClassification"):
        open_model(str(tmp_path))
