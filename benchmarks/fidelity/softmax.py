"""Softmax regression with exact inverse and exact retraining, independent of fastif."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

STEPS = 200
SMALL = 1e-12
"""Norm of the gradient at which training has converged."""


@dataclass(frozen=True, eq=False)
class Softmax:
    """The minimum of 1/n Σ L_i + penalty/2 ‖weights‖², weights [c d], in double precision.

    Args:
        points: Inputs, [n d]; a column of ones gives an intercept.
        labels: Classes from 0 to c - 1, [n].
        penalty: L2 penalty of all weights; positive, otherwise there may be no minimum.

    >>> model = Softmax(torch.eye(2).double(), torch.tensor([0, 1]), 0.1)
    >>> bool(model.gradient(model.weights[None]).norm() < 1e-12)
    True
    """

    points: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    penalty: float

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    @cached_property
    def weights(self) -> Float[Tensor, "c d"]:
        """Return the weights at the minimum, by Newton's method from zero."""
        weights = self.points.new_zeros(self.classes, self.points.shape[1])
        for _ in range(STEPS):
            gradient = self.gradient(weights[None]).view(-1)
            if gradient.norm() < SMALL:
                return weights
            weights = weights - torch.linalg.solve(self.hessian(weights), gradient).view_as(weights)
        raise RuntimeError("Newton's method did not converge; raise the penalty")

    @cached_property
    def curvature(self) -> Float[Tensor, "p p"]:
        """Hessian at the minimum."""
        return self.hessian(self.weights)

    @cached_property
    def factor(self) -> Float[Tensor, "p p"]:
        """Cholesky factor of the Hessian."""
        return torch.linalg.cholesky(self.curvature)

    def hessian(self, weights: Float[Tensor, "c d"]) -> Float[Tensor, "p p"]:
        """Return the Hessian of the objective with the penalty."""
        chance, rows = torch.softmax(self.points @ weights.T, 1), []
        for a in range(self.classes):
            kept = F.one_hot(torch.tensor(a), self.classes).to(chance)
            weight = chance[:, a, None] * (kept - chance)
            blocks = [self.points.T @ (w[:, None] * self.points) for w in weight.unbind(1)]
            rows.append(torch.cat(blocks, 1) / len(self.points))
        whole = torch.cat(rows)
        whole.diagonal().add_(self.penalty)
        return whole

    def gradient(
        self, weights: Float[Tensor, "r c d"], without: Int[Tensor, " r"] | None = None
    ) -> Float[Tensor, "r c d"]:
        """Return the gradients of the objective at r weights, without one row each; n is kept."""
        error = torch.softmax(torch.einsum("rcd,nd->rcn", weights, self.points), 1)
        error -= F.one_hot(self.labels, self.classes).T.to(error)
        if without is not None:
            error[torch.arange(len(weights)), :, without] = 0
        return error @ self.points / len(self.points) + self.penalty * weights

    def without(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "r c d"]:
        """Retrain without each of these rows, from the full solution to convergence.

        Each step solves the gradient of the objective without the row with the Hessian of all rows
        (the chord method). At convergence the gradient is zero.
        """
        weights = self.weights.expand(len(rows), -1, -1).clone()
        for _ in range(STEPS):
            gradient = self.gradient(weights, rows)
            if gradient.flatten(1).norm(dim=1).max() < SMALL:
                return weights
            weights -= torch.cholesky_solve(gradient.flatten(1).T, self.factor).T.view_as(weights)
        raise RuntimeError("retraining did not converge; raise the penalty")

    def gradients(
        self, points: Float[Tensor, "m d"], labels: Int[Tensor, " m"]
    ) -> Float[Tensor, "m p"]:
        """Return ∇L of each example, without the penalty."""
        error = torch.softmax(points @ self.weights.T, 1) - F.one_hot(labels, self.classes)
        return torch.einsum("mc,md->mcd", error, points).flatten(1)


def losses(
    weights: Float[Tensor, "r c d"], points: Float[Tensor, "m d"], labels: Int[Tensor, " m"]
) -> Float[Tensor, "r m"]:
    """Return the loss of each example under each of r weights."""
    logits = torch.einsum("rcd,md->rmc", weights, points)
    return -logits.log_softmax(2)[:, torch.arange(len(labels)), labels]
