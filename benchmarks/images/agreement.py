"""Predicted effects of images against retraining on halves: LDS of a ViT and a ResNet on digits.

`python -m benchmarks.images.agreement` measures (some minutes of processor time) and writes
benchmarks/results/images.json with its page; `page` writes the page alone.
"""

import argparse
from typing import Any

import torch
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
from benchmarks.retraining import Plan, measure_halves, zero_head
from fastif.data.examples import Examples
from fastif.models.image_classifier import ImageObjective

TRAIN, QUERIES = 500, 100
DAMPINGS = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3)
RATES = {"head": 0.03, "last:1": 3e-3}
"""Learning rates by attributed parameters."""


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
    train, queries, others = load_parts()
    result: dict = {"machine": describe(), "models": {}}
    models = make_models()
    for model in models.values():
        pretrain(model, others.pixels, others.labels)
        zero_head(model)
    for attributed in RATES:
        for name, model in models.items():
            recipe = fastif.TrainingConfig(10, RATES[attributed], 0.0, 32)
            objective = ImageObjective(model, attributed)
            plan = Plan(recipe, halves=30, choice_halves=8, seeds=2, dampings=DAMPINGS)
            entry = measure_halves(objective, train, queries, plan)
            result["models"][f"{name}, {attributed}"] = entry
            print(name, attributed, entry, flush=True)
            publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured


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
