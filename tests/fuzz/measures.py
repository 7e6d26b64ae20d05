"""Measures of queries by their definitions, and the random choice of one."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def draw_measure(chance: random.Random) -> dict[str, Any]:
    """What is explained: half of the studies have labels and the loss."""
    if chance.random() < 0.5:
        return {}
    measure = chance.choice(["auto", "auto", "loss", "log-probability", "margin", "entropy"])
    return {
        "measure": measure,
        "unlabelled": 0.0 if measure == "loss" else chance.choice([0.0, 0.5, 1.0]),
    }


def _surprise(outputs: Tensor, target: Tensor) -> Tensor:
    return torch.logsumexp(outputs, 0) - outputs @ _choose(outputs, target)


def _lost_margin(outputs: Tensor, target: Tensor) -> Tensor:
    chosen = _choose(outputs, target)
    return (outputs - 1e9 * chosen).max() - outputs @ chosen


def _entropy(outputs: Tensor, target: Tensor) -> Tensor:
    chances = outputs.exp() / outputs.exp().sum()
    return -(chances * chances.log()).sum()


def _choose(outputs: Tensor, target: Tensor) -> Tensor:
    return (torch.arange(len(outputs)) == target).to(outputs)


COSTS = {
    "loss": _surprise,
    "log-probability": _surprise,
    "margin": _lost_margin,
    "entropy": _entropy,
}
"""Functions of outputs and target that rise as a measure becomes worse."""


def measure_queries(
    measure: str, labels: Sequence[str], rows: Sequence[Mapping[str, str | None]], outputs: Tensor
) -> Iterator[tuple[str, int]]:
    """Yield measure and target of each query: its label, or the label that the model predicts."""
    for row, predicted in zip(rows, outputs.argmax(1).tolist(), strict=True):
        label, name = row["label"], measure
        if name == "auto":
            name = "log-probability" if label is None else "loss"
        yield name, predicted if name != "loss" or label is None else labels.index(label)
