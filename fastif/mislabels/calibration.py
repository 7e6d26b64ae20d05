"""Calibration of logits: temperature scaling with a bias per class, and stacking of classifiers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.linear_head import BIAS_PENALTY
from fastif.numerics.optimize import minimize_lbfgs

STEPS = 50
"""Maximum number of L-BFGS iterations."""


def calibrate_logits(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Calibrate logits by temperature scaling with a bias per class (Guo et al., 2017).

        calibrated = a · logits + b

    The scalar a and the vector b [c] minimize the mean cross-entropy to `labels`. A strong L2
    penalty and averages over classifiers shrink logits; the scale a undoes it. The bias b corrects
    the class frequencies.

    Args:
        logits: Out-of-fold logits, one row an example, [n, c].
        labels: Given label of each example, a class index, [n].

    Returns:
        Calibrated logits, [n, c]; their softmax is the class probability.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import calibrate_logits
        >>> z = torch.tensor([[0.1, 0.0], [0.0, 0.1]]).repeat(50, 1)
        >>> y = torch.tensor([0, 1]).repeat(50)
        >>> bool((calibrate_logits(z, y).softmax(1).amax(1) > 0.9).all())
        True
    """
    scale, shift = fit_calibration(logits, labels)
    return scale * logits + shift


def fit_calibration(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "1"], Float[Tensor, " c"]]:
    """Fit the scale a [1] and the biases b [c] of `calibrate_logits` by L-BFGS."""
    scale = logits.new_ones(1).requires_grad_()
    shift = logits.new_zeros(logits.shape[1]).requires_grad_()

    def loss() -> Tensor:
        log_probs = (scale * logits + shift).log_softmax(1).gather(1, labels[:, None])
        return -log_probs.mean() + BIAS_PENALTY * shift.square().sum()

    minimize_lbfgs(loss, [scale, shift], max_iter=STEPS)
    return scale.detach(), shift.detach()


def fit_matrix_scaling(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Calibrate logits by matrix scaling (Guo et al., 2017): logits A + b, by L-BFGS.

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each example, [n].
        weights: Weight of each example, [n].

    Returns:
        Calibrated logits, [n, c].
    """
    classes, shares = logits.shape[1], weights / weights.sum()
    matrix, shift = torch.eye(classes).requires_grad_(), torch.zeros(classes).requires_grad_()

    def loss() -> Tensor:
        log_probs = (logits @ matrix + shift).log_softmax(1).gather(1, labels[:, None])[:, 0]
        distance = (matrix - torch.eye(classes)).square().sum() + shift.square().sum()
        return -(shares * log_probs).sum() + BIAS_PENALTY * distance

    minimize_lbfgs(loss, [matrix, shift], max_iter=STEPS)
    return logits @ matrix.detach() + shift.detach()


def stack_logits(
    logit_pairs: Sequence[tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]],
    labels: Int[Tensor, " m"],
) -> Float[Tensor, "n c"]:
    """Combine classifiers by log-linear stacking, Σ_k a_k · logits_k.

    The weights a_k minimize the mean cross-entropy on labelled rows. With a single classifier this
    is temperature scaling (Guo et al., 2017).

    Args:
        logit_pairs: One pair a classifier: the logits to combine [n, c], and its out-of-fold logits
            of the labelled rows [m, c].
        labels: Labels of the m labelled rows, trusted where there are trusted rows, [m].

    Returns:
        Combined logits, [n, c].
    """
    scales = [labels.new_full((1,), 1 / len(logit_pairs), dtype=torch.float32) for _ in logit_pairs]
    for scale in scales:
        scale.requires_grad_()

    def loss() -> Tensor:
        combined = torch.stack(
            [
                a * labelled_logits
                for a, (_, labelled_logits) in zip(scales, logit_pairs, strict=True)
            ]
        ).sum(0)
        return -combined.log_softmax(1).gather(1, labels[:, None]).mean()

    minimize_lbfgs(loss, scales, max_iter=STEPS)
    return torch.stack([a.detach() * z for a, (z, _) in zip(scales, logit_pairs, strict=True)]).sum(
        0
    )
