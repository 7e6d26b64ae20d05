"""The search for wrong labels with the features of a torch module of one's own."""

import io
import sys

import command_line
import numpy as np
import own_package
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import write_study

from fastif import InputError
from storage import Store
from tasks.mislabels.detect import make_views
from tasks.mislabels.detection_plan import read_detection_plan, warn_encoder
from tasks.mislabels.forecast import forecast_mislabels
from tasks.mislabels.image_features import EMBEDDED
from tasks.study.study import load_study
from tests.fastif.models.image_cases import encode_png

ROWS, SIDE = 40, 5
PACKAGE = "photo_model"
SOURCE = """
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(25, 6)

    def forward(self, inputs):
        return torch.tanh(self.linear(inputs))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Body()
        self.head = nn.Linear(6, 2)

    def forward(self, inputs):
        return self.head(self.body(inputs))


class Broken(nn.Module):
    def forward(self, inputs):
        return inputs[:, :4] * float("nan")


def collate(rows):
    images = [Image.open(io.BytesIO(row["photo"])) for row in rows]
    pixels = np.stack([np.asarray(image, np.float32).ravel() for image in images])
    return torch.from_numpy(pixels / 255)


def load(folder):
    network = Network()
    network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return network, None, collate, network.body


def load_alone(folder):
    return load(folder)[:3]


def load_function(folder):
    return *load(folder)[:3], len


def load_broken(folder):
    return *load(folder)[:3], Broken()


def load_wide(folder):
    network, loss, function, _ = load(folder)
    return network, loss, function, nn.Unflatten(1, (5, 5))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An installed package, its weights, and tables of images whose brightness is the label."""
    monkeypatch.setattr(own_package, "NAME", PACKAGE)
    monkeypatch.setattr(own_package, "SOURCE", SOURCE)
    own_package.install(tmp_path, monkeypatch)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    random = np.random.default_rng(0)
    for name, count in (("train", ROWS), ("queries", 6)):
        labels = random.integers(0, 2, count)
        levels = 60 + 120 * labels[:, None, None] + random.normal(0, 25, (count, SIDE, SIDE))
        frame = pl.DataFrame(
            {
                "id": [f"{name}-{i}" for i in range(count)],
                "photo": [encode_png(level.clip(0, 255).astype(np.uint8)) for level in levels],
                "label": [own_package.LABELS[label] for label in labels],
            }
        )
        frame.write_parquet(tmp_path / f"{name}.parquet")
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "body.linear.weight": (6, 25),
        "body.linear.bias": (6,),
        "head.weight": (2, 6),
        "head.bias": (2,),
    }
    (tmp_path / "weights").mkdir()
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "weights" / "weights.safetensors")
    return tmp_path


def make_study(folder, function="load", attributed=("^head",)):
    section = {"image": "photo", "label": "label", "id": "id", "text": None}
    return write_study(
        folder,
        top={"labels": own_package.LABELS},
        model={"path": "weights", "factory": f"{PACKAGE}:{function}", "max_length": None},
        train={"table": "train.parquet", **section},
        queries={"table": "queries.parquet", **section, "groups": None},
        parameters={"attributed": list(attributed)},
        candidates={"kind": "full"},
    )


def embed_train(study):
    plan = read_detection_plan(study)
    return make_views(Store.open(study.parent / "store", "tiny"), plan, [plan.inputs.train])


def read_vectors(folder):
    store = Store.open(folder / "store", "tiny")
    (kind,) = store.list_artifact_kinds(EMBEDDED)
    (chunk,) = store.find_artifacts(kind).values()
    return load_file(chunk / "embedded.safetensors")["rows"]


def read_pixels(content):
    image = np.asarray(Image.open(io.BytesIO(content)), np.float64)
    return torch.from_numpy(image.ravel() / 255)


@pytest.mark.long
def test_the_search_uses_the_features_of_the_function(folder):
    """What is kept for each image is tanh(W x + b) of its pixels."""
    study = make_study(folder)
    assert "must not have been trained on these labels" in warn_encoder(load_study(study))
    expected = forecast_mislabels(read_detection_plan(study))
    assert expected is not None
    assert (expected.texts, expected.unit) == (ROWS, "images")
    embed_train(study)
    vectors = read_vectors(folder)
    weights = load_file(folder / "weights" / "weights.safetensors")
    photos = pl.read_parquet(folder / "train.parquet")["photo"]
    pixels = [read_pixels(content) for content in photos]
    body = weights["body.linear.weight"].double(), weights["body.linear.bias"].double()
    values = torch.tanh(torch.stack(pixels) @ body[0].T + body[1])
    assert vectors.shape == (ROWS, 6)
    order = torch.cdist(vectors.double(), values).argmin(1)
    assert sorted(order.tolist()) == list(range(ROWS))
    torch.testing.assert_close(vectors.double(), values[order], rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_other_weights_of_the_features_are_other_features(folder):
    """Embeddings of an earlier state of the module are not used again."""
    before = read_detection_plan(make_study(folder))
    path = folder / "weights" / "weights.safetensors"
    weights = load_file(path)
    weights["head.bias"] += 1
    save_file(weights, path)
    study = make_study(folder)
    assert read_detection_plan(study).encoder == before.encoder  # the head is no feature
    weights["body.linear.bias"] += 1
    save_file(weights, path)
    assert read_detection_plan(study).encoder != before.encoder


@pytest.mark.long
def test_features_with_attributed_parameters_are_warned_of(folder):
    """What is attributed was fitted to the labels, wrong ones included."""
    study = make_study(folder, attributed=("body", "head"))
    assert "wrong ones included" in warn_encoder(load_study(study))
    assert read_detection_plan(study).encoder_saw_labels


def test_without_features_pixels_are_compared_and_a_sentence_says_so(folder):
    study = make_study(folder, "load_alone")
    assert "compared by their pixels" in warn_encoder(load_study(study))
    assert read_detection_plan(study).encoder is None


@pytest.mark.default_cases(
    "load_function-a torch module as fourth value",
)
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("load_function", "a torch module as fourth value"),
        ("load_broken", "not finite"),
        ("load_wide", r"shape \[\d+, 5, 5\]"),
    ],
)
def test_refused_features(folder, function, expected):
    """A fourth value that gives no features is refused by the search, by name."""
    study = make_study(folder, function)
    with pytest.raises(InputError, match=expected):
        embed_train(study)


@pytest.mark.long
def test_the_command_ranks_and_refuses(folder):
    """`fastif mislabels` uses the features, and refuses broken ones without a traceback."""
    code, out, message = command_line.run("mislabels", make_study(folder))
    assert code == 0, out + message
    assert "must not have been trained" in out + message
    code, out, message = command_line.run("mislabels", make_study(folder, "load_broken"))
    assert code == 2
    assert "Traceback" not in out + message
