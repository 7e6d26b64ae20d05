"""Binary cross-entropy of independent outputs, for multi-label classification."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.loss import (
    Loss,
    as_outputs,
    as_weights,
    check_reduction,
    find_invalid_numbers,
    make_diagonal_factor,
    reduce_outputs,
)
from fastif.losses.measure import InvalidTargets, report_invalid_rows
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.deferred_checks import assume_all


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of c independent labels (multi-label), in nats.

        L = Σ_c -w_c y_c log σ(z_c) - (1 - y_c) log σ(-z_c)

    The Hessian in the outputs is diagonal, σ(z_c) σ(-z_c) (w_c y_c + 1 - y_c), and so is its factor
    `sqrt_hessian`. torch's `reduction="mean"`, with which Hugging Face trains multi-label heads,
    averages over the labels too and is 1/c of this, `reduction="mean"` here. Targets are 0 or 1, or
    probabilities, of shape [b c]; [b] for a single output.

    Args:
        pos_weight: Weights w of positive labels, one for each output, as in torch; 1 by default.
        reduction: "sum" or "mean" over the labels.
        skip_missing: Whether a target of NaN is a missing label without loss, and not refused. The
            mean stays one over all c labels.

    Raises:
        InputError: A weight is not a finite number > 0, a target is outside 0 to 1, or either
            differs in number from the outputs.

    Examples:
        >>> outputs = torch.tensor([[0.0, 2.0]])
        >>> BinaryCrossEntropy()(outputs, torch.tensor([[1, 0]]))  # log 2 + log(1 + e²)
        tensor([2.8201])
    """

    pos_weight: Sequence[float] | None = None
    reduction: str = "sum"
    skip_missing: bool = False

    def __post_init__(self) -> None:
        check_reduction(self.reduction)
        if self.pos_weight is None:
            return
        weights = tuple(float(weight) for weight in self.pos_weight)
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise InputError(
                "pos_weight",
                "finite numbers > 0",
                f"{weights}",
                "Set the weights with which the model was trained.",
            )
        object.__setattr__(self, "pos_weight", weights)  # a tuple, so that it can be hashed

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        probabilities, given = self._as_probabilities(targets, outputs)
        values = F.binary_cross_entropy_with_logits(
            outputs, probabilities, reduction="none", pos_weight=self._weights(outputs)
        )
        return reduce_outputs(values * given, self.reduction)

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        probabilities, given = self._as_probabilities(targets, outputs)
        total_weight = self._weights(outputs) * probabilities + 1 - probabilities
        curvature = outputs.sigmoid() * (-outputs).sigmoid() * total_weight
        return make_diagonal_factor(curvature * given, self.reduction)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        outside = ((targets < 0) | (targets > 1)).reshape(len(targets), -1).any(1)
        expected = "0 or 1, or probabilities between"
        numbers = targets.nan_to_num(0.0, torch.inf, -torch.inf) if self.skip_missing else targets
        return find_invalid_numbers(numbers, outputs) or report_invalid_rows(expected, outside)

    def _as_probabilities(
        self, targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b c"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Return probabilities, and 1 where a label is given or 0 where it is missing.

        Labels of -1 would give a negative curvature.
        """
        probabilities = as_outputs(targets, outputs)
        given = torch.ones_like(probabilities)
        if self.skip_missing:
            given = (~probabilities.isnan()).to(probabilities.dtype)
            probabilities = probabilities.nan_to_num(0.0, torch.inf, -torch.inf)
        if not assume_all((probabilities >= 0) & (probabilities <= 1)):
            raise InputError(
                "targets",
                "0 or 1, or probabilities between",
                f"values from {float(probabilities.min()):g} to {float(probabilities.max()):g}",
                "Write 0 for no and 1 for yes; for NaN as a missing label set skip_missing.",
            )
        return probabilities, given

    def _weights(self, outputs: Float[Tensor, "b c"]) -> Float[Tensor, " c"]:
        if self.pos_weight is None:
            return outputs.new_ones(outputs.shape[1])
        return as_weights(self.pos_weight, outputs, "pos_weight")
