"""Predicted effects of images against retraining on halves: LDS of three models on digits.

`python -m benchmarks.images.agreement` measures (some minutes of processor time) and writes
benchmarks/results/images.json with its page; `page` writes the page alone. A run that was stopped
continues: an entry that the result has is not measured again. EfficientNet-Lite0 needs
`pip install -e examples/digits`.
"""

import argparse
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

import fastif
from benchmarks.images.report import NAME, build_pages
from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from benchmarks.retraining import INFLUENCE, Plan, measure_halves, zero_head
from fastif.data.examples import Examples
from fastif.models.image_classifier import ImageObjective

TRAIN, QUERIES = 500, 100
DAMPINGS = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3)
PRETRAINED = "EfficientNet-Lite0"
ENTRIES = {
    "ViT, head": ("ViT", "head", 0.03),
    "ResNet, head": ("ResNet", "head", 0.03),
    "ViT, last:1": ("ViT", "last:1", 3e-3),
    "ResNet, last:1": ("ResNet", "last:1", 3e-3),
    "EfficientNet-Lite0, head": (PRETRAINED, "head", 0.03),
    "EfficientNet-Lite0, head at 1e-3": (PRETRAINED, "head", 1e-3),
}
"""Model, attributed parameters and learning rate of each entry, in the order of measurement."""


class Pixels(Examples):
    """Images in memory as pixel values."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pixels)

    def take(self, ids: Tensor) -> dict[str, Tensor]:
        """Return some images with their labels."""
        return {"pixel_values": self.pixels[ids], "labels": self.labels[ids]}


def make_models() -> dict[str, PreTrainedModel]:
    """Return untrained models of 8 x 8 pixels."""
    torch.manual_seed(0)
    vit = ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        image_size=8, patch_size=2, num_channels=1, num_labels=10,  # type: ignore[misc]
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    resnet = ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1],
        layer_type="basic", num_labels=10, image_size=8,  # type: ignore[misc]
    )  # fmt: skip
    return {
        "ViT": ViTForImageClassification(vit),
        "ResNet": ResNetForImageClassification(resnet),
    }


def pretrain(model: PreTrainedModel, pixels: Tensor, labels: Tensor) -> None:
    """Train the whole model on other images, of another task: even or odd, and below five."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    targets = 2 * (labels % 2) + (labels < 5).long()
    for _ in range(20):
        for rows in torch.randperm(len(pixels)).split(64):
            optimizer.zero_grad()
            logits = model(pixel_values=pixels[rows]).logits
            torch.nn.functional.cross_entropy(logits, targets[rows]).backward()
            optimizer.step()
    model.eval()


def main() -> None:
    """Measure, or write the page of the kept result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("measure", "page"), default="measure")
    if parser.parse_args().what == "page":
        publish(NAME, read_result(NAME), build_pages(read_result(NAME)))
        return
    result = {"machine": describe(), "models": read_entries()}
    for key, (name, attributed, rate) in ENTRIES.items():
        if key not in result["models"]:
            entry = measure_entry(name, attributed, rate)
            result["models"][key] = entry
            print(key, entry, flush=True)
            publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured


def read_entries() -> dict[str, dict]:
    """Return the entries of the kept result that have the dampings of this script."""
    models = read_result(NAME).get("models", {})
    grid = {f"{INFLUENCE}{damping:g}" for damping in DAMPINGS}
    return {key: entry for key, entry in models.items() if grid <= entry["lds"].keys()}


def measure_entry(name: str, attributed: str, rate: float) -> dict:
    """Return the LDS of the methods for a model and its attributed parameters."""
    train, queries, others = load_parts()
    recipe = fastif.TrainingConfig(10, rate, 0.0, 32)
    plan = Plan(recipe, halves=30, choice_halves=8, seeds=2, dampings=DAMPINGS)
    if name == PRETRAINED:
        return measure_halves(make_head(), embed_digits(train), embed_digits(queries), plan)
    model = make_models()[name]
    torch.manual_seed(0)
    pretrain(model, others.pixels, others.labels)
    zero_head(model)
    return measure_halves(ImageObjective(model, attributed), train, queries, plan)


def make_head() -> fastif.ModuleObjective:
    """Return the head of the example, of zeros, on the features of its frozen backbone."""
    from efficientnet_digits import CLASSES, WIDTH

    head = torch.nn.Linear(WIDTH, CLASSES)
    zero_head(head)
    return fastif.ModuleObjective(head, fastif.CrossEntropy())


@torch.no_grad()
def embed_digits(rows: "Pixels") -> fastif.TensorExamples:
    """Return digits as features of the example's backbone, which runs once."""
    from efficientnet_digits import Backbone, normalize

    grey = ((rows.pixels[:, 0] + 1) * 127.5).round().byte().numpy()
    pixels = torch.stack([normalize(Image.fromarray(image)) for image in grey])
    backbone = Backbone().eval()
    features = torch.cat([backbone(part) for part in pixels.split(64)])
    return fastif.TensorExamples(features, rows.labels)


def load_parts() -> tuple[Pixels, Pixels, Pixels]:
    """Return training rows, queries, and the digits for the training of the whole model."""
    digits: Any = load_digits()
    pixels = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, queries, others = order.split((TRAIN, QUERIES, len(order) - TRAIN - QUERIES))
    return tuple(Pixels(pixels[rows], labels[rows]) for rows in (train, queries, others))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
