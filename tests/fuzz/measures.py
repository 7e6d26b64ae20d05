"""Measures of queries by their definitions, and the random choice of one."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.fuzz.losses import RowLoss, plain_loss, predict
from tests.fuzz.targets import to_numbers

if TYPE_CHECKING:
    from tests.fuzz.case import Case
    from tests.fuzz.tables import Rows
    from tests.fuzz.truth import Read


def draw_measure(chance: random.Random) -> dict[str, Any]:
    """What is explained: half of the studies have labels and the loss."""
    if chance.random() < 0.5:
        return {}
    measure = chance.choice(["auto", "auto", "loss", "log-probability", "margin", "entropy"])
    return {
        "measure": measure,
        "unlabelled": 0.0 if measure == "loss" else chance.choice([0.0, 0.5, 1.0]),
    }


def _lost_margin(outputs: Tensor, target: Tensor) -> Tensor:
    chosen = _choose(outputs, target)
    return (outputs - 1e9 * chosen).max() - outputs @ chosen


def _entropy(outputs: Tensor, target: Tensor) -> Tensor:
    chances = outputs.exp() / outputs.exp().sum()
    return -(chances * chances.log()).sum()


def _choose(outputs: Tensor, target: Tensor) -> Tensor:
    return (torch.arange(len(outputs)) == target[1]).to(outputs)


COSTS = {"margin": _lost_margin, "entropy": _entropy}
"""Functions of outputs and target that rise as a measure becomes worse; others are losses."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What is explained of a query.

    Attributes:
        name: of the measure in the store.
        cost: Function of outputs and target that rises as the measure becomes worse.
        target: as a loss has it, with a weight of 1.
        sign: that makes the measure of the cost.
    """

    name: str
    cost: Callable[[Tensor, Tensor], Tensor]
    target: Tensor
    sign: int


def measure_queries(case: "Case", loss: RowLoss, rows: "Rows", read: "Read") -> Iterator[Measured]:
    """Yield what is explained of each query: at its label, or at the predicted one."""
    plain, target = plain_loss(loss), case.target
    for row, outputs, own in zip(rows, read.outputs, read.targets, strict=True):
        name = case.measure
        if name == "auto":
            name = "log-probability" if row["label"] is None else "loss"
        if target.kind == "number" or target.has_ranks:
            name = "huber-loss" if target.loss_name == "huber" else "squared-error"
        cost = COSTS.get(name, plain)
        predicted = predict(target, case.labels, outputs)
        if target.kind == "soft-label":  # shares explain themselves; their largest is the class
            place = int(outputs.argmax())
            predicted = tuple(float(i == place) for i in range(len(outputs)))
        numbers = torch.tensor([1.0, *to_numbers(target, case.labels, predicted)]).to(own)
        is_known = name in ("loss", "squared-error", "huber-loss")
        chosen = own if is_known else numbers.where(~own.isnan(), own)
        yield Measured(name, cost, chosen, -1 if name in ("log-probability", "margin") else 1)
