"""Step of stochastic gradient descent with momentum (Sutskever et al., 2013), and its reverse."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.unrolled.optimizer_spec import OptimizerSpec

Moments = tuple[Float[Tensor, " c"], ...]


class SgdStep:
    """Step of SGD on some coordinates, as `torch.optim.SGD` computes it.

        d = g + wθ        b' = μ b + (1 - τ) d, but b' = d in the first step
        θ' = θ - η b', with Nesterov's momentum θ' = θ - η (d + μ b')

    with learning rate η, weight decay w, momentum μ and dampening τ; without momentum θ' = θ - η d.

    Args:
        spec: Constants of the optimiser.
        number: Number of the step, 1 for the first.
        learning_rate: Learning rate η.
        weight_decay: Weight decay w.
    """

    def __init__(
        self, spec: OptimizerSpec, number: int, learning_rate: float, weight_decay: float
    ) -> None:
        self.momentum, self.nesterov = spec.momentum, spec.nesterov
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.kept, self.added = (0.0, 1.0) if number == 1 else (spec.momentum, 1 - spec.dampening)

    def advance(
        self, params: Float[Tensor, " c"], moments: Moments, gradient: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, " c"], Moments]:
        """Return the parameters and the momentum buffer after the step."""
        direction = gradient.add(params, alpha=self.weight_decay) if self.weight_decay else gradient
        buffers = tuple((b * self.kept).add_(direction, alpha=self.added) for b in moments)
        for buffer in buffers:
            direction = direction.add(buffer, alpha=self.momentum) if self.nesterov else buffer
        return params.add(direction, alpha=-self.learning_rate), buffers

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
            next_moments: Momentum buffer after the step, if there is momentum.
            adjoints: Adjoints of parameters and buffer.
            gradient_adjoint: Adjoint of the gradient, overwritten.
        """
        of_params, *of_buffers = adjoints
        torch.mul(of_params, -self.learning_rate, out=gradient_adjoint)
        for of_buffer in of_buffers:
            of_buffer.add_(gradient_adjoint, alpha=self.momentum if self.nesterov else 1.0)
            gradient_adjoint.mul_(float(self.nesterov)).add_(of_buffer, alpha=self.added)
            of_buffer.mul_(self.kept)
        of_params.add_(gradient_adjoint, alpha=self.weight_decay)
