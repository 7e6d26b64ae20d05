"""Entropy of the predicted probabilities, which no target changes."""

from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import find_invalid_classes
from fastif.losses.measure import InvalidTargets, Measure
from fastif.numerics.arithmetic import upcast_half


class Entropy(Measure):
    """Entropy -Σ_c π_c log π_c of the predicted probabilities π = softmax(outputs), in nats.

    It rises as the prediction becomes less certain. It does not depend on the
    target.

    Examples:
        >>> import torch
        >>> Entropy()(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.6931])
    """

    class_targets = True

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        log_probability = upcast_half(outputs).log_softmax(1)
        return -(log_probability.exp() * log_probability).sum(1)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_classes(targets, outputs)
