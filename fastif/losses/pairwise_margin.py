"""Pairwise margin: the output of one other class minus the output of the target."""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import as_classes, find_invalid_classes
from fastif.losses.measure import InvalidTargets, Measure
from fastif.numerics.arithmetic import upcast_half


@dataclass(frozen=True)
class PairwiseMargin(Measure):
    """Negative margin of the target against one competing class r, z_r - z_t, in logits.

    It rises as the prediction comes closer to that class, so effects on it have the sign of effects
    on a loss. `NegativeMargin` is the largest of these over all classes.

    Args:
        rival: Number r of the competing class.

    Examples:
        >>> import torch
        >>> PairwiseMargin(2)(torch.tensor([[1.0, 3.0, 0.5]]), torch.tensor([1]))
        tensor([-2.5000])
    """

    class_targets = True

    rival: int

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        chosen = as_classes(targets, outputs)[:, None]
        return outputs[:, self.rival] - outputs.gather(1, chosen)[:, 0]

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_classes(targets, outputs)
