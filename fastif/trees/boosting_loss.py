"""Losses of gradient boosting: gradients and curvatures as the libraries compute them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.binary_cross_entropy import BinaryCrossEntropy
from fastif.losses.cross_entropy import CrossEntropy
from fastif.losses.measure import Measure
from fastif.losses.squared_error import SquaredError

Scores = Float[Tensor, "*n o"]
Pulled = Float[Tensor, "*m o"]


class BoostingLoss(ABC):
    """Loss L of the scores F of a row, with the curvature h that the library divides by.

    Attributes:
        outputs: Number of scores a row.
    """

    outputs: int = 1

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """Loss as a measure of queries."""

    def to_logits(self, scores: Scores) -> Scores:
        """Return the logits of a classifier, or the predictions of a regression."""
        return scores

    @abstractmethod
    def gradient(self, scores: Scores, targets: Shaped[Tensor, " n"]) -> Scores:
        """Return g = ∂L/∂F."""

    @abstractmethod
    def curvature(self, scores: Scores) -> Scores:
        """Return the diagonal curvature h of a Newton step."""

    @abstractmethod
    def pull_gradient(self, scores: Scores, weights: Pulled) -> Pulled:
        """Return Σ_k weights_k ∂g_k/∂F."""

    @abstractmethod
    def pull_curvature(self, scores: Scores, weights: Pulled) -> Pulled:
        """Return Σ_k weights_k ∂h_k/∂F."""

    @abstractmethod
    def start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, "*b n"]
    ) -> Float[Tensor, "*b o"]:
        """Return the constant scores of least loss, from which boosting starts."""

    @abstractmethod
    def pull_start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, " n"]
    ) -> Float[Tensor, "n o"]:
        """Return the derivative of `start` in the weight of each row."""


@dataclass(frozen=True)
class Logistic(BoostingLoss):
    """Logistic loss of one score and labels 0 or 1, with LightGBM's `sigmoid` σ.

    L = log(1 + exp(-σF)) for a label 1; g = σ(s - y), h = σ² s(1 - s), s = 1/(1 + exp(-σF)).
    """

    sigmoid: float = 1.0

    @property
    def measure(self) -> Measure:
        return BinaryCrossEntropy()

    def to_logits(self, scores: Scores) -> Scores:
        return self.sigmoid * scores

    def gradient(self, scores: Scores, targets: Shaped[Tensor, " n"]) -> Scores:
        return self.sigmoid * (self._rate(scores) - targets[:, None].to(scores))

    def curvature(self, scores: Scores) -> Scores:
        rate = self._rate(scores)
        return self.sigmoid**2 * rate * (1 - rate)

    def pull_gradient(self, scores: Scores, weights: Pulled) -> Pulled:
        return weights * self.curvature(scores)

    def pull_curvature(self, scores: Scores, weights: Pulled) -> Pulled:
        return weights * self.sigmoid * self.curvature(scores) * (1 - 2 * self._rate(scores))

    def start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, "*b n"]
    ) -> Float[Tensor, "*b o"]:
        return (_mean(targets, weights).logit() / self.sigmoid)[..., None]

    def pull_start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, " n"]
    ) -> Float[Tensor, "n o"]:
        mean = _mean(targets, weights)
        slope = (targets.to(weights) - mean) / weights.sum()
        return (slope / (mean * (1 - mean) * self.sigmoid))[:, None]

    def _rate(self, scores: Scores) -> Scores:
        return torch.sigmoid(self.sigmoid * scores)


@dataclass(frozen=True)
class Softmax(BoostingLoss):
    """Softmax cross-entropy of several scores and class numbers.

    g = π - y, h = factor · π(1 - π): the factor is 2 in XGBoost and C/(C - 1) in LightGBM.
    """

    outputs: int = 3
    factor: float = 2.0

    @property
    def measure(self) -> Measure:
        return CrossEntropy()

    def gradient(self, scores: Scores, targets: Shaped[Tensor, " n"]) -> Scores:
        return scores.softmax(-1) - self._one_hot(targets).to(scores)

    def curvature(self, scores: Scores) -> Scores:
        rate = scores.softmax(-1)
        return self.factor * rate * (1 - rate)

    def pull_gradient(self, scores: Scores, weights: Pulled) -> Pulled:
        rate = scores.softmax(-1)
        return rate * (weights - (weights * rate).sum(-1, keepdim=True))

    def pull_curvature(self, scores: Scores, weights: Pulled) -> Pulled:
        inner = self.factor * weights * (1 - 2 * scores.softmax(-1))
        return self.pull_gradient(scores, inner)

    def start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, "*b n"]
    ) -> Float[Tensor, "*b o"]:
        share = weights @ self._one_hot(targets).to(weights)
        return (share / weights.sum(-1, keepdim=True)).clamp_min(1e-15).log()

    def pull_start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, " n"]
    ) -> Float[Tensor, "n o"]:
        one_hot = self._one_hot(targets).to(weights)
        share = weights @ one_hot
        return one_hot / share.clamp_min(1e-300) - 1 / weights.sum()

    def _one_hot(self, targets: Shaped[Tensor, " n"]) -> Shaped[Tensor, "n o"]:
        return torch.nn.functional.one_hot(targets.long(), self.outputs)


@dataclass(frozen=True)
class HalfSquaredError(BoostingLoss):
    """Half of the squared error: g = F - y, h = 1. Queries are measured by the squared error."""

    @property
    def measure(self) -> Measure:
        return SquaredError()

    def gradient(self, scores: Scores, targets: Shaped[Tensor, " n"]) -> Scores:
        return scores - targets[:, None].to(scores)

    def curvature(self, scores: Scores) -> Scores:
        return torch.ones_like(scores)

    def pull_gradient(self, scores: Scores, weights: Pulled) -> Pulled:
        return weights

    def pull_curvature(self, scores: Scores, weights: Pulled) -> Pulled:
        return torch.zeros_like(weights)

    def start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, "*b n"]
    ) -> Float[Tensor, "*b o"]:
        return _mean(targets, weights)[..., None]

    def pull_start(
        self, targets: Shaped[Tensor, " n"], weights: Float[Tensor, " n"]
    ) -> Float[Tensor, "n o"]:
        mean = _mean(targets, weights)
        return ((targets.to(weights) - mean) / weights.sum())[:, None]


def _mean(targets: Shaped[Tensor, " n"], weights: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    return weights @ targets.to(weights) / weights.sum(-1)


def differentiate(
    measure: Measure,
    loss: BoostingLoss,
    scores: Float[Tensor, "q o"],
    targets: Shaped[Tensor, "q *d"],
) -> Float[Tensor, "q o"]:
    """Return the derivative of a measure in the scores of each query."""
    with torch.enable_grad():
        variable = scores.detach().clone().requires_grad_()
        (slopes,) = torch.autograd.grad(measure(loss.to_logits(variable), targets).sum(), variable)
    return slopes
