"""Softmax regressions on a few rows, trained again without any subset of them."""

from itertools import combinations

import torch
from torch import Tensor, nn

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    GaussNewton,
    ModuleObjective,
    TensorExamples,
)

PENALTY = 0.05
ROWS, QUERIES = 12, 6


def train_weighted(points: Tensor, labels: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Softmax regressions [m c d] with weights [m n] of the rows, by Newton's method."""
    count, width = points.shape
    weights_now = torch.zeros(len(weights), classes, width, dtype=torch.float64)
    targets = torch.nn.functional.one_hot(labels, classes).double()
    targets = targets.expand(len(weights), -1, -1) if targets.dim() == 2 else targets
    for _ in range(25):
        chance = torch.softmax(points @ weights_now.mT, -1)
        error = weights[:, :, None] * (chance - targets)
        gradient = (error.mT @ points / count + PENALTY * weights_now).flatten(1)
        spread = torch.diag_embed(chance) - chance[..., None] * chance[..., None, :]
        hessian = torch.einsum("mn,mnab,nx,ny->maxby", weights, spread, points, points) / count
        size = classes * width
        hessian = hessian.reshape(-1, size, size) + PENALTY * torch.eye(size).double()
        weights_now -= torch.linalg.solve(hessian, gradient).view_as(weights_now)
    assert gradient.norm() < 1e-9
    return weights_now


def make_problem(
    classes: int, seed: int, rows: int = ROWS, width: int = 3
) -> tuple[Attributor, TensorExamples]:
    """A converged softmax regression, and queries with a label that is never the predicted one."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(rows + QUERIES, width, generator=generator, dtype=torch.float64)
    truth = torch.randn(classes, width, generator=generator).double()
    noise = torch.randn(rows + QUERIES, classes, generator=generator)
    labels = (points @ truth.T + noise).argmax(1)
    labels[:classes] = torch.arange(classes)
    model = nn.Linear(width, classes, bias=False).double()
    weights = torch.ones(1, rows).double()
    model.weight.data = train_weighted(points[:rows], labels[:rows], weights, classes)[0]
    objective = ModuleObjective(model, CrossEntropy(), penalty=PENALTY)
    train = TensorExamples(points[:rows], labels[:rows], batch_size=5)
    operator = GaussNewton(objective, train).with_damping(0.0)
    unused = (model(points[rows:]).argmax(1) + 1) % classes
    return Attributor(objective, train, operator, Direct()), TensorExamples(points[rows:], unused)


def margin_after(weights: Tensor, point: Tensor, prediction: int) -> Tensor:
    """Margins [m] of a class against the largest other one, under weights [m c d]."""
    outputs = weights @ point
    others = outputs.clone()
    others[:, prediction] = -torch.inf
    return outputs[:, prediction] - others.max(1).values


def fewest_removed(attributor: Attributor, point: Tensor, prediction: int, most: int) -> int | None:
    """Size of the true smallest set without which another class is predicted."""
    points, labels = attributor.train.inputs, attributor.train.labels
    classes = len(attributor.objective.params["weight"])
    for size in range(1, most + 1):
        subsets = list(combinations(range(len(points)), size))
        weights = torch.ones(len(subsets), len(points)).double()
        for row, subset in zip(weights, subsets, strict=True):
            row[list(subset)] = 0
        trained = train_weighted(points, labels, weights, classes)
        if bool((margin_after(trained, point, prediction) < 0).any()):
            return size
    return None


def read_data(attributor: Attributor) -> tuple[Tensor, Tensor]:
    """Inputs and labels of the training rows."""
    return attributor.train.inputs, attributor.train.labels
