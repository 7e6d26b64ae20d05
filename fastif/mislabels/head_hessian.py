"""Hessian of a linear head's training loss, as a matrix-free operator."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import LinearOperator


@dataclass(frozen=True, eq=False)
class HeadHessian(LinearOperator):
    """Hessian of multinomial logistic regression with L2 penalties, for any targets.

        H = Σ_i w_i x_i x_iᵀ ⊗ (diag(p_i) - p_i p_iᵀ) + diag(penalties)

    x_i has an additional 1 for the bias, and p_i are the head's probabilities. A product with a
    vector costs two products with the feature matrix, and needs the memory of the logits [n, c].
    Vectors are matrices [d + 1, c] in one row, the bias last.

    Attributes:
        features: Features of the rows, [n, d].
        probabilities: Class probabilities of the rows, [n, c].
        row_weights: Weight w_i of each row, [n]; they add up to 1.
        penalty: L2 penalty on the weights.
        bias_penalty: L2 penalty on the biases.
    """

    features: Float[Tensor, "n d"]
    probabilities: Float[Tensor, "n c"]
    row_weights: Float[Tensor, " n"]
    penalty: float
    bias_penalty: float

    @property
    def size(self) -> int:
        return (self.features.shape[1] + 1) * self.probabilities.shape[1]

    @property
    def like(self) -> Tensor:
        return self.features.new_empty(0)

    @property
    def is_semidefinite(self) -> bool:
        return True

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        return torch.stack([self._multiply(vector) for vector in vectors])

    def _multiply(self, vector: Tensor) -> Tensor:
        V, p = vector.view(-1, self.probabilities.shape[1]), self.probabilities
        logits = self.features @ V[:-1] + V[-1]
        change = p * (logits - (p * logits).sum(1, keepdim=True)) * self.row_weights[:, None]
        weights = torch.addmm(V[:-1], self.features.T, change, beta=self.penalty)
        return torch.cat([weights, change.sum(0, keepdim=True) + self.bias_penalty * V[-1:]]).view(
            -1
        )
