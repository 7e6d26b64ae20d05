"""Softmax cross-entropy summed over the labelled words of a sentence."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.cross_entropy import CrossEntropy
from fastif.losses.loss import Loss, find_invalid_classes
from fastif.losses.measure import InvalidTargets, all_rows, report_invalid_rows
from fastif.numerics.arithmetic import upcast_half

IGNORED = -100
"""Target of a place without a label, as in torch and transformers."""


@dataclass(frozen=True)
class TokenCrossEntropy(Loss):
    """Sum of the softmax cross-entropies of a sentence's labelled words, in nats.

        L = 1/d Σ_k [t_k ≠ -100] CE(z_k, t_k)

    The k c outputs of a sentence are the logits of k places with c classes each, and its targets k
    class numbers; places beyond its labelled words have the target -100. The Hessian is
    block-diagonal, so the square root has k (c - 1) columns.

    A sum and not the mean of a sentence, because transformers averages over all labelled words of a
    batch: every word has equal weight, and the effect of a sentence is the sum of those of its
    words. With d the mean number of labelled words a sentence, the mean over the sentences is the
    mean over the words, and damping and weight decay have the units of that training.

    Args:
        token_loss: Cross-entropy of a word, with label smoothing and class weights.
        divisor: Number d > 0 that the sum is divided by.

    Raises:
        InputError: The divisor is not a finite number > 0.

    Examples:
        >>> loss = TokenCrossEntropy()
        >>> loss(torch.zeros(1, 6), torch.tensor([[0, 1, -100]]))  # 2 log 2
        tensor([1.3863])
    """

    token_loss: CrossEntropy = field(default_factory=CrossEntropy)
    divisor: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.divisor) and self.divisor > 0):
            raise InputError(
                "divisor",
                "a finite number > 0",
                f"{self.divisor}",
                "Give the mean number of labelled words a sentence, or leave it out.",
            )

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        logits, classes, labelled = _split_places(outputs, targets)
        losses = self.token_loss(logits.flatten(0, 1), classes.flatten()).view(classes.shape)
        return torch.where(labelled, losses, 0.0).sum(1) / self.divisor

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        blocks = self.sqrt_hessian_blocks(outputs, targets)
        return torch.stack([torch.block_diag(*rows) for rows in blocks])

    def sqrt_hessian_blocks(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b k m r"]:
        logits, classes, labelled = _split_places(outputs, targets)
        blocks = self.token_loss.sqrt_hessian(logits.flatten(0, 1), classes.flatten())
        blocks = blocks.unflatten(0, classes.shape) / self.divisor**0.5
        return torch.where(labelled[:, :, None, None], blocks, 0.0)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        if targets.dim() != 2 or targets.is_floating_point() or outputs % targets.shape[1]:
            return report_invalid_rows("class numbers, one for each word", all_rows(targets))
        places = outputs // targets.shape[1]
        labelled = targets != IGNORED
        invalid = find_invalid_classes(targets.masked_fill(~labelled, 0).flatten(), places)
        if invalid is not None:
            expected, rows = invalid
            return f"{expected}, or {IGNORED}", rows.view(targets.shape).any(1)
        return report_invalid_rows("a label of one word or more", ~labelled.any(1))


def _split_places(
    outputs: Float[Tensor, "b n"], targets: Shaped[Tensor, "b *t"]
) -> tuple[Float[Tensor, "b k c"], Int[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """Return the logits of each place, its class (0 without a label), and whether it has a label.

    Raises:
        InputError: The outputs are not those of the places.
    """
    if targets.dim() != 2 or not targets.shape[1] or outputs.shape[1] % targets.shape[1]:
        raise InputError(
            "targets",
            "class numbers [b k], for outputs [b k·c]",
            f"targets {list(targets.shape)} and outputs {list(outputs.shape)}",
            "Give the sentences of encode_words to a TokenObjective.",
        )
    logits = upcast_half(outputs).view(len(outputs), targets.shape[1], -1)
    labelled = targets != IGNORED
    return logits, targets.masked_fill(~labelled, 0), labelled
