"""Predicted effects of images against retraining on halves: LDS of a ViT and a ResNet on digits.

`python -m benchmarks.images.agreement` measures (some minutes of processor time) and writes
benchmarks/results/images.json with its page; `page` writes the page alone.
"""

import argparse
import time
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
from fastif.data.examples import Examples
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.models.image_classifier import ImageObjective
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.correlation import linear_datamodelling_score

TRAIN, QUERIES = 500, 100
HALVES, CHOICE_HALVES, SEEDS = 30, 8, 2
DAMPINGS = (1.0, 0.1, 0.01, 1e-3)
EPOCHS = 10
RATES = {"head": 0.03, "last:1": 3e-3}


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


def measure(model: PreTrainedModel, train: Pixels, queries: Pixels, attributed: str) -> dict:
    """Measure the LDS of the methods for one model and one choice of parameters."""
    head = next(m for m in reversed(list(model.modules())) if isinstance(m, torch.nn.Linear))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    objective = ImageObjective(model, attributed)
    initial = dict(objective.params)
    cached, cached_queries = (PrefixCache(objective, rows, 2**28) for rows in (train, queries))

    def fit(rows: Examples, seed: int) -> None:
        objective.params = initial
        config = fastif.TrainingConfig(EPOCHS, RATES[attributed], 0.0, 32, seed)
        objective.params = fastif.fit(objective, rows, config)

    start = time.process_time()
    generator = torch.Generator().manual_seed(0)
    subsets, outcomes = [], []
    for _ in range(HALVES + CHOICE_HALVES):
        kept = torch.randperm(TRAIN, generator=generator)[: TRAIN // 2]
        losses = []
        for seed in range(SEEDS):
            fit(cached.subset(kept), seed)
            losses.append(fastif.predict(objective, cached_queries)[1])
        subsets.append(kept)
        outcomes.append(-torch.stack(losses))
    retrain_seconds = time.process_time() - start
    fit(cached, 0)
    logits, _ = fastif.predict(objective, cached_queries)
    start = time.process_time()
    effects = _compute_effects(objective, cached, cached_queries)
    seconds = time.process_time() - start
    every = torch.stack(outcomes)  # [halves seeds q]
    scores = {
        name: _score(effect, subsets, every.mean(1), slice(CHOICE_HALVES, None))
        for name, effect in effects.items()
    }
    choice = {
        name: _score(effect, subsets, every.mean(1), slice(0, CHOICE_HALVES))
        for name, effect in effects.items()
    }
    repeat = [_correlate(every[CHOICE_HALVES:, 0], every[CHOICE_HALVES:, 1])]
    return {
        "parameters": objective.space.size,
        "cut": objective.num_frozen_layers > 0,
        "accuracy": float((logits.argmax(1) == queries.labels).float().mean()),
        "lds": scores,
        "choice": choice,
        "seeds": repeat[0],
        "retrain_seconds": retrain_seconds,
        "seconds": seconds,
    }


def _compute_effects(
    objective: ImageObjective, train: Examples, queries: Examples
) -> dict[str, Tensor]:
    """Return the effects [q n] of every method."""
    gradients = fastif.Gradients(objective)
    rows = compute_loss_gradients(gradients, train)
    columns = compute_measure_gradients(gradients, queries)
    product = columns @ rows.T / len(rows)
    norms = rows.norm(dim=1)
    effects = {"gradient product": product, "gradient cosine": product / norms.clamp_min(1e-12)}
    curvature, solver = fastif.GaussNewton(objective, train), fastif.Dual()
    factor = solver.factor(curvature.with_damping(1.0))  # the same for every damping
    for damping in DAMPINGS:
        operator = curvature.with_damping(damping)
        attribute = fastif.Attributor(
            objective, train, operator, solver, fastif.ExhaustiveSearch(), factor, leverage="off"
        )
        answer = attribute(queries)
        effect = torch.empty(len(queries), len(train))
        effect.scatter_(1, answer.influences.ids, answer.influences.removal_effect)
        effects[f"influence, damping {damping:g}"] = effect
    return effects


def _score(effect: Tensor, subsets: list[Tensor], outcomes: Tensor, part: slice) -> float:
    scores = linear_datamodelling_score(effect, subsets[part], outcomes[part])
    return float(scores.nanmean())


def _correlate(first: Tensor, second: Tensor) -> float:
    """Return the mean rank correlation over queries of the outcomes with two seeds."""
    from fastif.numerics.correlation import spearman

    return float(spearman(first.T, second.T).nanmean())


def main() -> None:
    """Measure, or write the page of the kept result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("measure", "page"), default="measure")
    if parser.parse_args().what == "page":
        publish(NAME, read_result(NAME), build_pages(read_result(NAME)))
        return
    digits: Any = load_digits()
    pixels = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    pixels, labels = pixels[order], labels[order]
    end = TRAIN + QUERIES
    train = Pixels(pixels[:TRAIN], labels[:TRAIN])
    queries = Pixels(pixels[TRAIN:end], labels[TRAIN:end])
    result: dict = {"machine": describe(), "models": {}}
    for name, model in make_models().items():
        pretrain(model, pixels[end:], labels[end:])
        for attributed in ("last:1", "head"):
            entry = measure(model, train, queries, attributed)
            result["models"][f"{name}, {attributed}"] = entry
            print(name, attributed, entry, flush=True)
            publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured


if __name__ == "__main__":
    main()
