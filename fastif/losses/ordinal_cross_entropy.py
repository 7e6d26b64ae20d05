"""Ordinal cross-entropies of ordered classes, with one output for each threshold between them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.loss import Loss, as_classes, find_invalid_classes
from fastif.losses.measure import InvalidTargets, report_invalid_rows
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.deferred_checks import assume_all

ORDINAL_KINDS = ("coral", "corn", "cumulative")
"""Ways to make the probabilities of ordered classes from the logits of thresholds."""


@dataclass(frozen=True)
class OrdinalCrossEntropy(Loss):
    """Cross-entropy of C ordered classes by C - 1 logits z_k, one for each threshold, in nats.

    Targets are class numbers y from 0 to C - 1, in their order. The kinds are

    - coral: Σ_k -log σ(±z_k), + where y > k. Each σ(z_k) is P(y > k) (Cao et al., 2020; also of
      independent outputs).
    - corn: the same over k ≤ y only. σ(z_k) is P(y > k | y ≥ k) (Shi et al., 2023). The published
      mean is over all these terms and not over examples, another scale of the loss.
    - cumulative: -log(σ(z_{y-1}) - σ(z_y)), for z_k = f - θ_k the proportional-odds model
      (McCullagh, 1980). It is defined for descending outputs only, as ordered thresholds give.

    All are convex; the Hessian in the outputs is diagonal, but for "cumulative", which couples the
    two thresholds around the target. A classifier with C outputs that was trained with softmax
    cross-entropy on ordered classes has `CrossEntropy`, which the order does not change.

    Args:
        kind: "coral", "corn" or "cumulative".
        classes: Number C of classes; if given, a model with another number than C - 1 outputs is
            refused.

    Raises:
        InputError: The kind is unknown, the outputs are not C - 1, a target is no class number, or
            outputs are not in descending order ("cumulative").

    Examples:
        >>> outputs, targets = torch.tensor([[2.0, -1.0]]), torch.tensor([1])
        >>> OrdinalCrossEntropy("coral")(outputs, targets)  # log(1 + e⁻²) + log(1 + e⁻¹)
        tensor([0.4402])
        >>> OrdinalCrossEntropy("cumulative")(outputs, targets)  # -log(σ(2) - σ(-1))
        tensor([0.4913])
    """

    kind: str = "coral"
    classes: int | None = None

    class_targets = True

    def __post_init__(self) -> None:
        if self.kind not in ORDINAL_KINDS:
            raise InputError(
                "kind",
                " or ".join(ORDINAL_KINDS),
                f"{self.kind!r}",
                "Set the loss with which the model was trained.",
            )
        if self.classes is not None and self.classes < 2:
            raise InputError(
                "classes", "two or more", f"{self.classes}", "Count the ordered classes."
            )

    def __call__(
        self, outputs: Float[Tensor, "b k"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs, above, used = self._compare(upcast_half(outputs), targets)
        signed = torch.where(above, outputs, -outputs)
        values = torch.where(used, -F.logsigmoid(signed), 0.0).sum(1)
        if self.kind != "cumulative":
            return values
        gap, inner = self._measure_gap(outputs, above)
        # σ(a) - σ(b) = σ(a) σ(-b) (1 - exp(b - a)), exact for thresholds that are close
        return values - torch.where(inner, torch.log(-torch.expm1(-gap)), 0.0)

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b k"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b k r"]:
        outputs, above, used = self._compare(upcast_half(outputs), targets)
        curvature = torch.where(used, outputs.sigmoid() * (-outputs).sigmoid(), 0.0)
        diagonal = torch.diag_embed(curvature.sqrt())
        if self.kind != "cumulative":
            return diagonal
        gap, inner = self._measure_gap(outputs, above)
        coupling = torch.where(inner, 0.5 / torch.sinh(gap / 2), 0.0)
        below = torch.where(used & ~above, -1.0, 0.0).to(outputs.dtype)
        sides = torch.where(used & above, 1.0, below)
        return torch.cat([diagonal, (coupling[:, None] * sides)[:, :, None]], 2)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        if self.classes is not None and outputs != self.classes - 1:
            every = torch.ones(len(targets), dtype=torch.bool)
            expected = f"of a model with {self.classes - 1} outputs, one for each threshold"
            return report_invalid_rows(expected, every)
        return find_invalid_classes(targets, outputs + 1)

    def _compare(
        self, outputs: Float[Tensor, "b k"], targets: Shaped[Tensor, "b *t"]
    ) -> tuple[Float[Tensor, "b k"], Bool[Tensor, "b k"], Bool[Tensor, "b k"]]:
        """Return the outputs, where the target is above the threshold, and where it has a loss."""
        classes = self._as_classes(targets, outputs)[:, None]
        thresholds = torch.arange(outputs.shape[1], device=outputs.device)
        above = classes > thresholds
        if self.kind == "coral":
            return outputs, above, torch.ones_like(above)
        if self.kind == "corn":
            return outputs, above, thresholds <= classes
        if not assume_all(outputs[:, 1:] < outputs[:, :-1]):
            raise InputError(
                "model",
                "outputs in descending order, log odds of y > 0, y > 1, ... (cumulative)",
                "outputs of a row that rise or are equal",
                'Use kind = "coral" for thresholds without an order, or correct the model.',
            )
        return outputs, above, (thresholds == classes) | (thresholds == classes - 1)

    def _as_classes(
        self, targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b k"]
    ) -> Int[Tensor, " b"]:
        if self.classes is not None and outputs.shape[1] != self.classes - 1:
            raise InputError(
                "model",
                f"{self.classes - 1} outputs, one for each threshold of {self.classes} classes",
                f"{outputs.shape[1]}",
                "Use CrossEntropy for a model with one output for each class.",
            )
        return as_classes(targets, F.pad(outputs, (0, 1)))

    @staticmethod
    def _measure_gap(
        outputs: Float[Tensor, "b k"], above: Bool[Tensor, "b k"]
    ) -> tuple[Float[Tensor, " b"], Bool[Tensor, " b"]]:
        """Return z_{y-1} - z_y, one where it does not exist, and where it exists."""
        count = above.sum(1)  # the class number
        inner = (count > 0) & (count < outputs.shape[1])
        upper = outputs.gather(1, (count - 1).clamp_min(0)[:, None])[:, 0]
        lower = outputs.gather(1, count.clamp_max(outputs.shape[1] - 1)[:, None])[:, 0]
        return torch.where(inner, upper - lower, 1.0), inner
