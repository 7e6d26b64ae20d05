"""A linear classifier on fixed features, fitted to labels that may be uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEPS = 60
"""L-BFGS iterations; the penalty keeps the problem well-conditioned."""

BIAS_PENALTY = 1e-4
"""Keeps the biases finite where a class has no row."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits x W + b.

    Attributes:
        weight: W.
        bias: b.
    """

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, " c"]

    def __call__(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Logits of rows."""
        return features @ self.weight + self.bias


@runtime_checkable
class HeadFitter(Protocol):
    """Whatever fits a head as `fit_linear_head` does; one may, for instance, keep them."""

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """See `fit_linear_head`."""
        ...


def fit_linear_head(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n c"],
    penalty: float,
    weights: Float[Tensor, " n"] | None = None,
) -> LinearHead:
    """The head of least weighted mean cross-entropy to `targets` + ½ penalty ‖W‖², by L-BFGS.

    Args:
        features: of the rows.
        targets: a distribution over classes for each row; one-hot for a certain label.
        penalty: of the squared weights.
        weights: of the rows; all alike if left out.

    >>> x = torch.tensor([[-1.0], [-0.9], [0.9], [1.0]])
    >>> y = torch.eye(2)[[0, 0, 1, 1]]
    >>> fit_linear_head(x, y, 1e-2)(x).argmax(1)
    tensor([0, 0, 1, 1])
    """
    row_weights = torch.ones(len(features)) if weights is None else weights
    row_weights = (row_weights / row_weights.sum()).to(features)
    W = features.new_zeros(features.shape[1] + 1, targets.shape[1]).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [W],
        max_iter=STEPS,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = features @ W[:-1] + W[-1]
        loss = -(row_weights * (targets * logits.log_softmax(1)).sum(1)).sum()
        loss = loss + penalty / 2 * W[:-1].square().sum() + BIAS_PENALTY / 2 * W[-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    fitted = W.detach()
    return LinearHead(fitted[:-1], fitted[-1])


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
    optimiser = torch.optim.LBFGS([scale, shift], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        log_probs = (scale * logits + shift).log_softmax(1).gather(1, labels[:, None])
        loss = -log_probs.mean() + BIAS_PENALTY * shift.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
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
    optimiser = torch.optim.LBFGS(scales, max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        combined = torch.stack(
            [
                a * labelled_logits
                for a, (_, labelled_logits) in zip(scales, logit_pairs, strict=True)
            ]
        ).sum(0)
        loss = -combined.log_softmax(1).gather(1, labels[:, None]).mean()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return torch.stack([a.detach() * z for a, (z, _) in zip(scales, logit_pairs, strict=True)]).sum(
        0
    )
