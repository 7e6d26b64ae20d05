"""Calibration of logits: bias and temperature scaling, and stacking of several classifiers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.linear_head import BIAS_PENALTY
from fastif.numerics.optimize import minimize_lbfgs

STEPS = 50
"""L-BFGS iterations at most."""


def calibrate_logits(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """A · logits + b with the one a and the c numbers b under which `labels` are likeliest.

    Strong penalties and averages shrink logits; this undoes it, and the pull of frequent classes.

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
    """The a and b of `calibrate_logits`."""
    scale = logits.new_ones(1).requires_grad_()
    shift = logits.new_zeros(logits.shape[1]).requires_grad_()

    def loss() -> Tensor:
        log_probs = (scale * logits + shift).log_softmax(1).gather(1, labels[:, None])
        return -log_probs.mean() + BIAS_PENALTY * shift.square().sum()

    minimize_lbfgs(loss, [scale, shift], max_iter=STEPS)
    return scale.detach(), shift.detach()


def stack_logits(
    logit_pairs: Sequence[tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]],
    labels: Int[Tensor, " m"],
) -> Float[Tensor, "n c"]:
    """Σ a_k · logits_k with the numbers that suit labelled rows best.

    Of a single classifier it is temperature scaling (Guo and others, 2017).

    Args:
        logit_pairs: of each classifier the logits to be summed, and those of rows whose labels are
            certain, made in the same way without them.
        labels: theirs.
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
