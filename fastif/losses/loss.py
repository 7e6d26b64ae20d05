"""Training losses with a factor of their Hessian in the outputs."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.measure import (
    InvalidTargets,
    Measure,
    all_rows,
    nonfinite_rows,
    report_invalid_rows,
)


class Loss(Measure):
    """Training loss: a measure with a factor of its Hessian in the outputs.

    All are convex in the outputs but `FocalLoss` and `BinaryFocalLoss`, whose factor is of the
    positive part of the Hessian.
    """

    @abstractmethod
    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        """Square root S [b c r] of the loss Hessian in the outputs z, S Sᵀ = ∂²L/∂z².

        A Gauss-Newton product has one backward pass for each of the r columns (BackPACK's
        `sqrt_hessian`). Their number may depend on the number of outputs, never on an example.
        """

    def sqrt_hessian_blocks(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b k m r"]:
        """Diagonal blocks of S [b c k·r], one for each k outputs with a loss of their own.

        One block by default. A loss that is a sum over groups of m = c / k consecutive outputs,
        such as the words of a sentence, has k of them; S itself would be mostly zero.
        """
        return self.sqrt_hessian(outputs, targets)[:, None]


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction.

    Raises:
        InputError: It is neither "sum" nor "mean".
    """
    if reduction not in ("sum", "mean"):
        raise InputError(
            "reduction",
            '"sum" or "mean" over the outputs of an example',
            f"{reduction!r}",
            'Set "mean" for a loss of torch with reduction="mean" and several outputs.',
        )


def check_positive(number: float, where: str, example: str) -> None:
    """Refuse a parameter of a loss that is not a finite number > 0.

    Raises:
        InputError: It is not.
    """
    if not (math.isfinite(number) and number > 0):
        raise InputError(
            where,
            "a finite number > 0",
            f"{number}",
            f"Set the value with which the model was trained, such as {example}.",
        )


def reduce_outputs(values: Float[Tensor, "b c"], reduction: str) -> Float[Tensor, " b"]:
    """Combine the losses of the outputs of each example."""
    return values.mean(-1) if reduction == "mean" else values.sum(-1)


def make_diagonal_factor(curvature: Float[Tensor, "b c"], reduction: str) -> Float[Tensor, "b c c"]:
    """Make the square root of a diagonal Hessian, given for the sum over the outputs."""
    scale = curvature.shape[-1] if reduction == "mean" else 1
    return torch.diag_embed((curvature / scale).sqrt())


def as_outputs(
    targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b c"]
) -> Float[Tensor, "b c"]:
    """Convert numeric targets to the shape and type of the outputs, one for each output.

    Raises:
        InputError: The targets differ in number from the outputs.
    """
    if targets.numel() != outputs.numel():
        raise InputError(
            "targets",
            f"{outputs.shape[-1]} numbers an example, one for each output of the model",
            f"shape {tuple(targets.shape)} for {len(outputs)} examples",
            "Give labels of shape [n c], or [n] for a model of one output.",
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


def find_invalid_numbers(targets: Shaped[Tensor, "n *t"], outputs: int) -> InvalidTargets | None:
    """Find targets that are not finite numbers, one for each output."""
    if targets[:1].numel() != min(len(targets), 1) * outputs:
        return report_invalid_rows(f"{outputs} numbers, one for each output", all_rows(targets))
    return report_invalid_rows("finite numbers", nonfinite_rows(targets))


def find_invalid_classes(targets: Shaped[Tensor, "n *t"], outputs: int) -> InvalidTargets | None:
    """Find targets that are not class numbers."""
    if targets.is_floating_point() or targets.dtype == torch.bool or targets.dim() != 1:
        return report_invalid_rows("class numbers, one whole number a row", all_rows(targets))
    return report_invalid_rows(
        f"class numbers from 0 to {outputs - 1}", (targets < 0) | (targets >= outputs)
    )


def as_classes(targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b c"]) -> Int[Tensor, " b"]:
    """Convert targets to class numbers.

    Raises:
        InputError: A target is no class number. A number out of range, such as torch's ignore index
            -100, has no loss but would have a curvature.
    """
    invalid = find_invalid_classes(targets, outputs.shape[-1])
    if invalid is not None:
        wrong = targets[invalid[1].to(targets.device)][:3].tolist()
        raise InputError(
            "targets",
            invalid[0],
            ", ".join(map(str, wrong)),
            "Correct these targets, or remove the rows.",
        )
    return targets.long()


def as_weights(
    weights: Sequence[float], outputs: Float[Tensor, "b c"], where: str
) -> Float[Tensor, " c"]:
    """Convert weights to a tensor of the outputs' type, one for each output.

    Raises:
        InputError: The weights differ in number from the outputs.
    """
    if len(weights) != outputs.shape[1]:
        raise InputError(
            where,
            f"{outputs.shape[1]} numbers, one for each output of the model",
            f"{len(weights)}",
            "Give one weight for each label, in the order of the outputs.",
        )
    return _make_weights(tuple(weights), outputs.dtype, outputs.device)


@lru_cache(maxsize=16)
def _make_weights(
    weights: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, " c"]:
    """Return weights on a device, held because the host waits for a copy to it."""
    return torch.tensor(weights, dtype=dtype, device=device)
