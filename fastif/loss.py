"""The training loss, and the root of its curvature in the outputs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor


class Loss(ABC):
    """A convex function of the outputs, one value an example."""

    @abstractmethod
    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        """The loss of each example, in nats."""

    @abstractmethod
    def root(self, outputs: Float[Tensor, "b c"]) -> Float[Tensor, "b c r"]:
        """S with S Sᵀ = the Hessian of the loss in the outputs, example by example.

        Its few columns r are what a Gauss-Newton product has to pull back through the model.
        """


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy, -log softmax(outputs)[target], with optional label smoothing.

    Its Hessian diag(π) - ππᵀ does not depend on the target and has rank c-1; `root` is its exact
    Cholesky factor in closed form (Tanabe and Sagae, 1992), so two classes cost one column.

    >>> outputs = torch.tensor([[0.3, -1.0, 0.5]], dtype=torch.float64)
    >>> probability = outputs.softmax(1)[0]
    >>> root = CrossEntropy().root(outputs)[0]
    >>> hessian = probability.diag() - probability.outer(probability)
    >>> root.shape, torch.allclose(root @ root.T, hessian)
    (torch.Size([3, 2]), True)
    """

    label_smoothing: float = 0.0

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        return F.cross_entropy(
            outputs, targets, reduction="none", label_smoothing=self.label_smoothing
        )

    def root(self, outputs: Float[Tensor, "b c"]) -> Float[Tensor, "b c r"]:
        probability = outputs.softmax(-1)
        # rest[:, j] = what is left after classes 0..j; summed from the end so that a tiny rest
        # keeps its digits instead of drowning in 1 - (nearly 1).
        tail = probability.flip(-1).cumsum(-1).flip(-1)
        before, rest = tail[:, :-1], tail[:, 1:]
        tiny = torch.finfo(outputs.dtype).tiny
        scale = (probability[:, :-1] / (before * rest).clamp_min(tiny)).sqrt()
        below = -probability[:, :, None] * scale[:, None, :]
        diagonal = torch.diag_embed(rest * scale)
        root = below.tril(-1)
        root[:, :-1] += diagonal
        return root


@dataclass(frozen=True)
class SquaredError(Loss):
    """Sum of squared differences (no ½), so the Hessian in the outputs is 2·I.

    >>> SquaredError()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([5.])
    """

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        return (outputs - targets.reshape(outputs.shape)).square().sum(-1)

    def root(self, outputs: Float[Tensor, "b c"]) -> Float[Tensor, "b c r"]:
        classes = outputs.shape[-1]
        identity = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
        return (2**0.5 * identity).expand(len(outputs), classes, classes)
