"""The truth: dense float64 matrices by naive autograd, one example and one entry at a time.

Written to be obvious. No line is shared with the library, and nothing of it is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """A model, the parameters in question, and its examples, each a batch of one.

    Attributes:
        module: the whole model; called with the keyword or positional arguments of one example.
        names: the parameters, in the order of a row.
        inputs: for each example either a tensor [1, ...] or keyword tensors [1, ...].
        targets: for each example its target [1, ...].
        loss: from outputs [c] and one target to a number.
    """

    module: nn.Module
    names: Sequence[str]
    inputs: Sequence[Tensor | dict[str, Tensor]]
    targets: Sequence[Tensor]
    loss: Loss

    def __len__(self) -> int:
        return len(self.inputs)


def cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    return torch.logsumexp(outputs, 0) - outputs[int(target)]


def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    return ((outputs - target.reshape(-1)) ** 2).sum()


def smoothed_cross_entropy(smoothing: float, weights: Sequence[float]) -> Loss:
    """Cross-entropy with label smoothing and class weights, a class at a time."""

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        total, classes = torch.zeros((), dtype=outputs.dtype), len(outputs)
        for c in range(classes):
            share = (1 - smoothing) * float(c == int(target)) + smoothing / classes
            total = total + weights[c] * share * (torch.logsumexp(outputs, 0) - outputs[c])
        return total

    return loss


def binary_cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """Minus the log probability of all yes-no answers together."""
    chance = 1 / (1 + torch.exp(-outputs))
    yes = target.reshape(-1).to(outputs.dtype)
    return -(yes * torch.log(chance) + (1 - yes) * torch.log(1 - chance)).sum()


def smooth_hinge(temperature: float) -> Loss:
    """The blog's formula for one output, its form of Crammer and Singer for several."""

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        t = temperature
        if len(outputs) == 1:
            sign = 1.0 if int(target) > 0 else -1.0
            return t * torch.log(1 + torch.exp((1 - sign * outputs[0]) / t))
        right = int(target)
        gaps = [float(c != right) + outputs[c] - outputs[right] for c in range(len(outputs))]
        return t * torch.log(torch.exp(torch.stack(gaps) / t).sum())

    return loss


def flatten_params(problem: Problem) -> Tensor:
    """The parameters as one row."""
    named = dict(problem.module.named_parameters())
    return torch.cat([named[name].detach().flatten() for name in problem.names])


def output(problem: Problem, row: Tensor, i: int) -> Tensor:
    """The outputs [c] of example i at parameters `row`."""
    named = dict(problem.module.named_parameters())
    values, start = {}, 0
    for name in problem.names:
        stop = start + named[name].numel()
        values[name] = row[start:stop].reshape(named[name].shape)
        start = stop
    given = problem.inputs[i]
    if isinstance(given, dict):
        return functional_call(problem.module, values, (), given).logits[0]
    return functional_call(problem.module, values, (given,))[0]


def losses(problem: Problem, row: Tensor) -> Tensor:
    """The loss of each example at parameters `row`."""
    count = len(problem)
    return torch.stack(
        [problem.loss(output(problem, row, i), problem.targets[i]) for i in range(count)]
    )


def jacobian(values: Tensor, leaf: Tensor) -> Tensor:
    """d values[k] / d leaf, entry by entry of `values`; zero where there is no path."""
    rows = []
    for value in values:
        if not value.requires_grad:
            rows.append(torch.zeros_like(leaf))
            continue
        (row,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros_like(leaf) if row is None else row)
    return torch.stack(rows)


def gradients(problem: Problem) -> Tensor:
    """∇L of each example, [n p]; a graph of all examples would be differentiated n times."""
    row = flatten_params(problem).requires_grad_()
    examples = range(len(problem))
    losses = (problem.loss(output(problem, row, i), problem.targets[i]) for i in examples)
    return torch.cat([jacobian(loss[None], row) for loss in losses])


def hessian(problem: Problem, ids: Sequence[int] | None = None) -> Tensor:
    """1/m Σ ∇²L, differentiating each entry of the gradient once more."""
    ids = range(len(problem)) if ids is None else ids
    row = flatten_params(problem).requires_grad_()
    total = torch.zeros(len(row), len(row), dtype=row.dtype)
    for i in ids:
        loss = problem.loss(output(problem, row, i), problem.targets[i])
        (gradient,) = torch.autograd.grad(loss, row, create_graph=True)
        total += jacobian(gradient, row)
    return total / len(ids)


def gauss_newton(problem: Problem, ids: Sequence[int] | None = None) -> Tensor:
    """1/m Σ Jᵀ A J, with J the full Jacobian and A the Hessian of the loss in the outputs."""
    ids = range(len(problem)) if ids is None else ids
    row = flatten_params(problem).requires_grad_()
    total = torch.zeros(len(row), len(row), dtype=row.dtype)
    for i in ids:
        outputs = output(problem, row, i)
        J = jacobian(outputs, row)
        leaf = outputs.detach().requires_grad_()
        loss = problem.loss(leaf, problem.targets[i])
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        total += J.T @ jacobian(gradient, leaf) @ J
    return total / len(ids)


def removal_effects(queries: Tensor, train: Tensor, matrix: Tensor, damping: float) -> Tensor:
    """1/n Q (matrix + damping I)⁻¹ Gᵀ, [q n], by a dense inverse."""
    inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    return queries @ inverse @ train.T / len(train)


# Convex models, trained to convergence: softmax regression without bias, weights [c d].


def softmax_gradient(
    weights: Tensor, points: Tensor, labels: Tensor, penalty: float, without: int | None = None
) -> Tensor:
    """The gradient of 1/n Σ L_i + penalty/2 ‖weights‖², the sum being without one example.

    n stays the number of all examples: removing one takes its term away and leaves the rest of the
    objective as it is.
    """
    error = torch.softmax(points @ weights.T, 1)
    error[torch.arange(len(labels)), labels] -= 1
    if without is not None:
        error[without] = 0
    return error.T @ points / len(points) + penalty * weights


def softmax_hessian(weights: Tensor, points: Tensor, penalty: float) -> Tensor:
    """The Hessian of the same objective over all examples, [c·d c·d], block by block."""
    chance = torch.softmax(points @ weights.T, 1)
    classes, width = weights.shape
    rows = []
    for a in range(classes):
        blocks = []
        for b in range(classes):
            weight = chance[:, a] * (float(a == b) - chance[:, b])
            blocks.append(points.T @ (weight[:, None] * points) / len(points))
        rows.append(torch.cat(blocks, 1))
    return torch.cat(rows) + penalty * torch.eye(classes * width, dtype=weights.dtype)


def train_softmax(points: Tensor, labels: Tensor, classes: int, penalty: float) -> Tensor:
    """Newton's method from zero, until the gradient vanishes."""
    weights = torch.zeros(classes, points.shape[1], dtype=points.dtype)
    for _ in range(50):
        gradient = softmax_gradient(weights, points, labels, penalty)
        if gradient.norm() < 1e-13:
            return weights
        step = torch.linalg.solve(softmax_hessian(weights, points, penalty), gradient.flatten())
        weights = weights - step.view_as(weights)
    raise RuntimeError(f"not converged: gradient {float(gradient.norm())}")


class LeaveOneOut:
    """Trains softmax regression again without one example, really and to convergence.

    Every step divides the gradient of the objective *without* the example by one factorised Hessian
    (the chord method). Where it ends the gradient is zero, for any steps.
    """

    def __init__(self, points: Tensor, labels: Tensor, weights: Tensor, penalty: float) -> None:
        self.points, self.labels, self.weights, self.penalty = points, labels, weights, penalty
        self.factor = torch.linalg.cholesky(softmax_hessian(weights, points, penalty))

    def train_without(self, example: int) -> Tensor:
        weights = self.weights
        for _ in range(100):
            gradient = softmax_gradient(
                weights, self.points, self.labels, self.penalty, without=example
            )
            if gradient.norm() < 1e-12:
                return weights
            step = torch.cholesky_solve(gradient.flatten()[:, None], self.factor)
            weights = weights - step.view_as(weights)
        raise RuntimeError(f"not converged without {example}: {float(gradient.norm())}")


def least_squares(points: Tensor, targets: Tensor) -> Tensor:
    """Weights [d] of the least squares fit; append a column of ones for an intercept."""
    return torch.linalg.solve(points.T @ points, points.T @ targets)


def pearson(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten() - a.mean(), b.flatten() - b.mean()
    return float(a @ b / (a.norm() * b.norm()))


class Convex:
    """A linear model that minimises 1/n Σ L_i + penalty/2 ‖weights‖², really and to convergence.

    Args:
        points: [n d]; append a column of ones for an intercept.
        targets: one or more for each point.
        loss: from outputs [n c] and targets to a number for each of them, by torch's own functions.
        outputs: c.
        penalty: of all weights.
    """

    def __init__(
        self, points: Tensor, targets: Tensor, loss: Loss, outputs: int, penalty: float
    ) -> None:
        self.points, self.targets, self.loss, self.penalty = points, targets, loss, penalty
        self.shape = outputs, points.shape[1]
        start = torch.zeros(outputs * points.shape[1], dtype=points.dtype)
        self.weights = self.minimize(start, torch.ones(len(points), dtype=points.dtype))

    def train_without(self, example: int) -> Tensor:
        """The weights trained without one example; its term is taken away, n is not changed."""
        kept = torch.ones(len(self.points), dtype=self.points.dtype)
        kept[example] = 0
        return self.minimize(self.weights, kept)

    def value(self, row: Tensor, kept: Tensor) -> Tensor:
        """The mean loss of the kept examples, with the penalty."""
        losses = self.loss(self.points @ row.view(self.shape).T, self.targets)
        return (kept * losses).sum() / len(kept) + self.penalty / 2 * row.square().sum()

    def minimize(self, row: Tensor, kept: Tensor) -> Tensor:
        """Newton's method, halving steps that do not go down."""
        for _ in range(100):
            gradient = torch.func.grad(self.value)(row, kept)
            if gradient.norm() < 1e-12:
                return row
            step = torch.linalg.solve(torch.func.hessian(self.value)(row, kept), gradient)
            size, before = 1.0, self.value(row, kept)
            while self.value(row - size * step, kept) > before + 1e-12:
                size /= 2
            row = row - size * step
        raise RuntimeError(f"not converged: gradient {float(gradient.norm())}")
