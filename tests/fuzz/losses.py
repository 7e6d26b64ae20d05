"""Losses of a row by their definitions, with their curvature by plain autograd.

A target is a vector: the weight of the row, then the number of its class, or a number a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.fuzz.targets import Target


@dataclass(frozen=True)
class RowLoss:
    """Weight of the row times its loss.

    Attributes:
        target: Kind of target, with the settings of its loss.
        labels: Number of labels.
        weights, smoothing: of classes.
        name: of the loss.
    """

    target: Target
    labels: int
    weights: tuple[float, ...] | None
    smoothing: float
    name: str

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        return target[0] * FORMULAS[self.name](self, outputs, target[1:])

    def bend(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Curvature in the outputs: d²L/dz², of a focal loss its positive part.

        That is taken in the metric of the plain softmax or of independent labels.
        """
        second = torch.func.hessian(self)(outputs, target)
        if self.name != "focal":
            return second
        chances = outputs.sigmoid()
        metric = (chances * (1 - chances)).diag()
        if self.target.kind != "multi-label":
            chances = outputs.softmax(0)
            metric = chances.diag() - chances.outer(chances)
        values, vectors = torch.linalg.eigh(metric)
        kept = values > 1e-12 * values.max()
        root = vectors[:, kept] * values[kept].sqrt()
        back = vectors[:, kept] / values[kept].sqrt()
        inner, axes = torch.linalg.eigh(back.T @ second @ back)
        return root @ (axes * inner.clamp_min(0)) @ axes.T @ root.T


def training_loss(
    target: Target, labels: int, weights: Sequence[float] | None, smoothing: float
) -> RowLoss:
    """As trained."""
    own = tuple(weights) if weights else None
    return RowLoss(target, labels, own, smoothing, target.loss_name)


def plain_loss(loss: RowLoss) -> RowLoss:
    """Of a query: without weights, smoothing and focusing."""
    name = loss.name
    if name == "focal":
        name = "binary" if loss.target.kind == "multi-label" else "cross-entropy"
    return RowLoss(replace(loss.target, positive=None), loss.labels, None, 0.0, name)


def _cross_entropy(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    """-Σ_c q_c log π_c with q_c = w_c ((1 - ε) y_c + ε / C)."""
    count = len(outputs)
    weights = outputs.new_tensor(loss.weights or [1.0] * count)
    given = target if len(target) > 1 else (torch.arange(count) == target[0]).to(outputs)
    spread = given * (1 - loss.smoothing) + loss.smoothing / count
    return -(weights * spread * outputs.log_softmax(0)).sum()


def _focal(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    """-w_t (1 - p)^γ log p, of a softmax or of each label."""
    gamma = 2.0 if loss.target.gamma is None else loss.target.gamma
    if loss.target.kind == "multi-label":
        chance = torch.where(target == 1, outputs.sigmoid(), (-outputs).sigmoid())
        return _reduce(loss, -((1 - chance) ** gamma) * chance.log())
    chosen = (torch.arange(len(outputs)) == target[0]).to(outputs)
    chance = outputs.softmax(0) @ chosen
    weight = outputs.new_tensor(loss.weights or [1.0] * len(outputs)) @ chosen
    return -weight * (1 - chance) ** gamma * chance.log()


def _binary(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    """-w_c y_c log σ(z_c) - (1 - y_c) log σ(-z_c); no term of a missing label."""
    positive = outputs.new_tensor(loss.target.positive or [1.0] * len(outputs))
    yes = torch.where(target.isnan(), 0.0, target)
    terms = positive * yes * -outputs.sigmoid().log() - (1 - yes) * (-outputs).sigmoid().log()
    return _reduce(loss, torch.where(target.isnan(), 0.0, terms))


def _squared(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    return _reduce(loss, (outputs - target) ** 2)


def _huber(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    corner = 1.0 if loss.target.delta is None else loss.target.delta
    gap = (outputs - target).abs()
    return _reduce(loss, torch.where(gap <= corner, gap**2 / 2, corner * (gap - corner / 2)))


def _ordinal(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    """-log P(y) by each threshold, by the thresholds up to y, or by P(y > k - 1) - P(y > k)."""
    rank, places = int(target[0]), torch.arange(len(outputs))
    if loss.target.ordinal == "cumulative":
        above = torch.cat([outputs.new_ones(1), outputs.sigmoid(), outputs.new_zeros(1)])
        return -(above[rank] - above[rank + 1]).log()
    terms = -torch.where(places < rank, outputs, -outputs).sigmoid().log()
    if loss.target.ordinal == "corn":
        terms = torch.where(places <= rank, terms, 0.0)
    return terms.sum()


def _reduce(loss: RowLoss, terms: Tensor) -> Tensor:
    return terms.sum() / (1 if loss.target.reduction == "sum" else len(terms))


FORMULAS = {
    "cross-entropy": _cross_entropy,
    "focal": _focal,
    "binary": _binary,
    "squared": _squared,
    "huber": _huber,
    "ordinal": _ordinal,
}


def predict(target: Target, labels: Sequence[str], outputs: Tensor) -> str | tuple[float, ...]:
    """The predicted target of a row: a class, a label set, shares, or numbers."""
    if target.has_ranks:
        return labels[min(max(round(float(outputs[0])), 0), len(labels) - 1)]
    if target.has_thresholds:
        passed = outputs > 0
        if target.ordinal == "corn":
            passed = outputs.sigmoid().cumprod(0) > 0.5
        return labels[int(passed.sum())]
    if target.is_named:
        return labels[int(outputs.argmax())]
    if target.kind == "multi-label":
        return tuple(float(output > 0) for output in outputs)
    shares = outputs.softmax(0) if target.kind == "soft-label" else outputs
    return tuple(shares.tolist())


def confidence(target: Target, outputs: Tensor) -> float:
    """Distance of the outputs from another prediction; of numbers, none is near."""
    if target.has_ranks:
        return float((outputs - outputs.floor() - 0.5).abs()[0])
    if target.has_thresholds and target.ordinal == "corn":
        return float((outputs.sigmoid().cumprod(0) - 0.5).abs().min())
    if target.has_thresholds or target.kind == "multi-label":
        return float(outputs.abs().min())
    if target.kind == "number":
        return 1.0
    return float(outputs.topk(2).values.diff().abs()[0])
