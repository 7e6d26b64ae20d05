"""Step of Adam and AdamW (Kingma and Ba, 2015; Loshchilov and Hutter, 2019), and its reverse."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.unrolled.optimizer_spec import OptimizerSpec

Moments = tuple[Float[Tensor, " c"], ...]


class AdamStep:
    """Step number t of Adam or AdamW on some coordinates, as `torch.optim` computes it.

        m' = β₁ m + (1 - β₁) g        v' = β₂ v + (1 - β₂) g²
        θ' = (1 - ηw) θ - η/(1 - β₁ᵗ) · m' / (√v' / √(1 - β₂ᵗ) + ε)

    with learning rate η and weight decay w. For Adam, w is 0 in the last line and wθ is part of g.

    Args:
        spec: Constants of the optimiser.
        number: Number t of the step, 1 for the first.
        learning_rate: Learning rate η.
        weight_decay: Weight decay w.
    """

    def __init__(
        self, spec: OptimizerSpec, number: int, learning_rate: float, weight_decay: float
    ) -> None:
        self.betas, self.eps = spec.betas, spec.eps
        self.size = learning_rate / (1 - spec.betas[0] ** number)
        self.root = math.sqrt(1 - spec.betas[1] ** number)
        decoupled = spec.kind == "adamw"
        self.shrinkage = 1 - learning_rate * weight_decay if decoupled else 1.0
        self.coupled_decay = 0.0 if decoupled else weight_decay

    def advance(
        self, params: Float[Tensor, " c"], moments: Moments, gradient: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, " c"], Moments]:
        """Return the parameters and moments after the step."""
        gradient = self._with_decay(params, gradient)
        first = moments[0].lerp(gradient, 1 - self.betas[0])
        second = (moments[1] * self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        shrunk = params * self.shrinkage if self.shrinkage != 1 else params
        return shrunk.addcdiv(first, self._divisor(second), value=-self.size), (first, second)

    def pull_back(
        self,
        params: Float[Tensor, " c"],
        gradient: Float[Tensor, " c"],
        next_moments: Moments,
        adjoints: tuple[Float[Tensor, "q c"], ...],
        gradient_adjoint: Float[Tensor, "q c"],
    ) -> None:
        """Turn adjoints of the next state into those of this one, in place.

        Args:
            params: Parameters before the step.
            gradient: Gradient of the step, after clipping.
            next_moments: Moments after the step.
            adjoints: Adjoints of parameters, first and second moment. Without the last the second
                moment counts as a constant.
            gradient_adjoint: Adjoint of the gradient, overwritten.
        """
        first, second = next_moments
        divisor = self._divisor(second)
        slope = -self.size / divisor  # dθ'/dm'
        of_params, of_first, *rest = adjoints
        of_first.addcmul_(of_params, slope)
        torch.mul(of_first, 1 - self.betas[0], out=gradient_adjoint)
        of_first.mul_(self.betas[0])
        for of_second in rest:
            root = second.sqrt()
            curve = -slope * first / divisor / (2 * self.root * root)  # dθ'/dv'
            of_second.addcmul_(of_params, torch.where(root > 0, curve, 0.0))
            doubled = self._with_decay(params, gradient) * (2 * (1 - self.betas[1]))
            gradient_adjoint.addcmul_(of_second, doubled)
            of_second.mul_(self.betas[1])
        of_params.mul_(self.shrinkage).add_(gradient_adjoint, alpha=self.coupled_decay)

    def _with_decay(self, params: Tensor, gradient: Tensor) -> Tensor:
        return gradient.add(params, alpha=self.coupled_decay) if self.coupled_decay else gradient

    def _divisor(self, second: Tensor) -> Tensor:
        return second.sqrt().div_(self.root).add_(self.eps)
