"""Heads and losses on real data; each loss twice, from this library and from torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

from fastif import BinaryCrossEntropy, CrossEntropy, SmoothHinge, SquaredError
from fastif.losses import Loss, Measure

N, QUERIES = 80, 10
Losses = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Head:
    """Training set, queries, and the loss from this library and from torch.

    `plain` is the measure of the queries.
    """

    points: Tensor
    targets: Tensor
    queries: tuple[Tensor, Tensor]
    ours: Loss
    measure: Measure | None
    torch_loss: Losses
    plain: Losses
    outputs: int


@cache
def take_digits(*chosen: int) -> tuple[Tensor, Tensor]:
    """Digits of 4 x 4 pixels with a constant column, 8 % with a wrong label."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).view(-1, 4, 2, 4, 2).mean((2, 4)) / 16
    points = torch.cat([images.flatten(1), torch.ones(len(images), 1, dtype=images.dtype)], 1)
    labels = torch.from_numpy(digits.target).long()
    if not chosen:
        return points, labels
    kept = (labels[:, None] == torch.tensor(chosen)).any(1)
    points, labels = points[kept], labels[kept]
    labels = (labels[:, None] == torch.tensor(chosen)).long().argmax(1)
    wrong = torch.rand(len(labels), generator=torch.Generator().manual_seed(0)) < 0.08
    return points, torch.where(wrong, (labels + 1) % len(chosen), labels)


def _make_head(points, targets, ours, torch_loss, outputs, measure=None, plain=None) -> Head:
    query_examples = points[-QUERIES:], targets[-QUERIES:]
    return Head(
        points[:N],
        targets[:N],
        query_examples,
        ours,
        measure,
        torch_loss,
        plain or torch_loss,
        outputs,
    )


def as_trained() -> Head:
    weights = (0.5, 2.0, 1.0)
    tensor = torch.tensor(weights, dtype=torch.float64)

    def torch_loss(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y, tensor, reduction="none", label_smoothing=0.1)

    def plain(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y, reduction="none")

    ours = CrossEntropy(0.1, weights)
    return _make_head(*take_digits(0, 1, 8), ours, torch_loss, 3, CrossEntropy(), plain)


def multi_label() -> Head:
    """Labels: whether a digit is at least 5, whether it is odd, whether it has a loop."""
    points, digit = take_digits()
    loop = (digit[:, None] == torch.tensor([0, 6, 8, 9])).any(1)
    targets = torch.stack([digit >= 5, digit % 2 == 1, loop], 1).long()

    def torch_loss(z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, y.double(), reduction="none").sum(1)

    return _make_head(points, targets, BinaryCrossEntropy(), torch_loss, 3)


def regression() -> Head:
    table = load_diabetes()
    points = torch.from_numpy(table.data)
    points = torch.cat([points / points.std(0), torch.ones(len(points), 1).double()], 1)
    targets = torch.from_numpy(table.target) / 100
    return _make_head(points, targets, SquaredError(), lambda z, y: (z[:, 0] - y).square(), 1)


def hinge(t: float = 0.1) -> Head:
    def torch_loss(z: Tensor, y: Tensor) -> Tensor:
        return t * F.softplus((1 - (2 * y - 1) * z[:, 0]) / t, threshold=500)

    return _make_head(*take_digits(1, 7), SmoothHinge(t), torch_loss, 1)


def hinges(t: float = 0.2) -> Head:
    def torch_loss(z: Tensor, y: Tensor) -> Tensor:
        right = z.gather(1, y[:, None])
        return t * torch.logsumexp((1 - F.one_hot(y, 3) + z - right) / t, 1)

    return _make_head(*take_digits(0, 1, 8), SmoothHinge(t), torch_loss, 3)


HEADS = {
    "as-trained": as_trained,
    "multi-label": multi_label,
    "regression": regression,
    "hinge": hinge,
    "hinges": hinges,
}
