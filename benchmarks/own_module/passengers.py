"""Torch module of the study of this benchmark, as a user writes it for `[model] factory`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

NUMBERS = {"age": (30.0, 14.0), "sibsp": (0.5, 1.0), "parch": (0.4, 0.9), "fare": (2.9, 1.0)}
"""Columns of numbers, with about their mean and deviation; a missing number is the mean."""
CATEGORIES = {"pclass": "123", "sex": ("female",), "embarked": "CQS", "deck": "ABCDEFG"}
WIDTHS = (len(NUMBERS) + sum(map(len, CATEGORIES.values())), 32, 16, 2)


def make_network() -> nn.Sequential:
    """Return the untrained network."""
    first, second, third, last = WIDTHS
    return nn.Sequential(
        nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third), nn.ReLU(),
        nn.Linear(third, last),
    )  # fmt: skip


def collate(rows: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return the inputs of some passengers."""
    return torch.tensor([encode_row(row) for row in rows])


def encode_row(row: Mapping[str, Any]) -> list[float]:
    """Return standardised numbers, and an indicator of each value of a category."""
    numbers = [
        0.0 if math.isnan(row[name]) else (row[name] - mean) / deviation
        for name, (mean, deviation) in NUMBERS.items()
    ]
    return numbers + [
        float(row[name] == value) for name, values in CATEGORIES.items() for value in values
    ]


def load(folder: Path) -> tuple[nn.Module, None, Any]:
    """Return module, loss (the cross-entropy of the study) and collate function."""
    network = make_network()
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network, None, collate
