"""False alarms and finds of the check of a stated loss, on models trained in several ways."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import fastif
from benchmarks.targets.subjects import STARS, read_reviews
from fastif.evaluation.loss_statements import LossStatement, list_alternatives
from fastif.evaluation.stationarity import compare_statements
from fastif.losses import CrossEntropy, FocalLoss, Loss, balanced_weights
from fastif.training.retrain import retrain_exact

KEPT = (300, 40, 150, 60, 300)
"""Number of rows of each class; unequal, so that balanced weights differ from equal ones."""
PENALTY = 1e-3
EPOCHS = (2, 10)


def measure_loss_check(data: Path) -> list[dict]:
    """Count false alarms and finds by way of training, over stated and true losses."""
    inputs, labels = read_reviews(data)
    ids = torch.cat([(labels == star).nonzero()[:count, 0] for star, count in enumerate(KEPT)])
    inputs, labels = inputs[ids], labels[ids]
    entries = []
    for way in ("converged", *EPOCHS):
        for hidden in (0, 32):
            if way == "converged" and hidden:
                continue
            counts = {"alarms": 0, "right": 0, "named": 0, "wrong": 0}
            for true, stated, named in _try_statements(inputs, labels, way, hidden):
                if true == stated:
                    counts["right"] += 1
                    counts["alarms"] += bool(named)
                elif "plain" in (true, stated):  # others differ by two settings, none is compared
                    counts["wrong"] += 1
                    counts["named"] += bool(named)
            entries.append({"way": way, "hidden": hidden, **counts})
            print(entries[-1], flush=True)
    return entries


def _list_losses(labels: Int[Tensor, " n"]) -> dict[str, Loss]:
    weights = balanced_weights(labels, len(STARS))
    return {
        "plain": CrossEntropy(),
        "smoothed": CrossEntropy(0.1),
        "balanced": CrossEntropy(0.0, weights),
        "focal": FocalLoss(2.0),
    }


def _try_statements(
    inputs: Float[Tensor, "n d"], labels: Int[Tensor, " n"], way: str | int, hidden: int
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the true loss, the stated one, and the names of losses that were reported."""
    losses, penalty = _list_losses(labels), PENALTY if way == "converged" else 0.0
    rows = fastif.TensorExamples(inputs, labels, batch_size=250)
    for true, loss in losses.items():
        objective = _train(rows, loss, way, hidden)
        for stated, statement in losses.items():
            first = LossStatement("as stated", statement, penalty)
            others = list_alternatives(first, labels, len(STARS))
            results = compare_statements(objective, rows, [first, *others])
            yield true, stated, [r.statement.name for r in results if r.is_smaller]


def _train(
    rows: fastif.TensorExamples, loss: Loss, way: str | int, hidden: int
) -> fastif.ModuleObjective:
    torch.manual_seed(0)
    width, classes = rows.inputs.shape[1], len(STARS)
    module = nn.Linear(width, classes).double()
    if hidden:
        layers = nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, classes)
        module = nn.Sequential(*layers).double()
    objective = fastif.ModuleObjective(module, loss)
    if not isinstance(way, int):
        objective.params = retrain_exact(objective, rows, PENALTY)
        return objective
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for _ in range(way):
        for ids in torch.randperm(len(rows)).split(32):
            batch = rows.take(ids)
            optimiser.zero_grad()
            loss(module(batch["inputs"]), batch["labels"]).mean().backward()
            optimiser.step()
    return fastif.ModuleObjective(module, loss)
