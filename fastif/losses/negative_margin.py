"""Negative margin: the largest other output minus the output of the target."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import as_classes, find_invalid_classes
from fastif.losses.measure import InvalidTargets, Measure
from fastif.numerics.arithmetic import upcast_half


class NegativeMargin(Measure):
    """Negative margin of the target against the runner-up, max_{c ≠ t} z_c - z_t, in logits.

    It is below 0 exactly where the target is the predicted class, and rises as the prediction comes
    closer to another class, so effects on it have the sign of effects on a loss. Where several
    runners-up tie, the gradient is that of the first one.

    Examples:
        >>> outputs = torch.tensor([[1.0, 3.0, 0.5]])
        >>> NegativeMargin()(outputs, torch.tensor([1]))
        tensor([-2.])
    """

    class_targets = True

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        chosen = as_classes(targets, outputs)[:, None]
        others = outputs.scatter(1, chosen, -torch.inf)
        runner_up = others.detach().argmax(1, keepdim=True)
        return (outputs.gather(1, runner_up) - outputs.gather(1, chosen))[:, 0]

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_classes(targets, outputs)
