"""The certificate of an answer: how it was solved, on how much, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.gradients.route import HOOKS

MAX_PRODUCT_CORRELATION = 0.99
"""Beyond this correlation a score is the plain gradient product by another name.

The published settings (a damping of 50) give 0.9999 on a small network; where the curvature has a
say, the correlation stays well below.
"""

NONFINITE_GRADIENT = (
    "Its gradient is not finite. Look for extreme values in its input or in the weights."
)
DIVERGED = "Its solve diverged."
SCORES_OVERFLOWED = "Its scores are too large for the precision of the model. Raise the damping."
"""Why a query is quarantined, and what to change."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known about the answers to q queries. Numbers are NaN where there is nothing to say.

    Of several models (see `Ensemble`) it is the worst of theirs, number by number: the largest
    residuals and steps, the cosine and correlation nearest to 1. Norms are means.

    Attributes:
        residual: ‖b - A x‖ / ‖b‖ on the damped operator that was to be solved.
        full_residual: the same with the curvature of all training examples; None if not measured.
        converged: the residual is within the solver's tolerance, and there are scores.
        steps: sweeps over the operator that were used.
        damping: the effective λ.
        spread: relative standard deviation over a solver's repeats; None for one without repeats.
        gradient_norm: ‖∇L(query)‖.
        solution_norm: ‖s_test‖.
        gradient_cosine: of s_test with ∇L(query); 1 = the solve changed nothing but the length.
        score_correlation: Pearson correlation of the scores with ∇L(query)ᵀ ∇L(train) over a fixed
            random sample of up to 256 training examples.
        reasons: why a query was quarantined (it has no scores then); None where all is well.
        dropped: candidates of the query without a score, since their own gradient is not finite.
        models: how many were averaged.
        agreement: mean rank correlation of the models' scores over that sample; None for one model.
        held: share of the total size of the effects, Σ |removal_effect|, that the candidates hold;
            what they miss is estimated from that sample. None in a full scan.
        route: "hooks", or "one by one" and why: how gradients of examples were taken; None where
            none were.
        least_eigenvalue: a lower bound of the least eigenvalue of H + λI. λ for a curvature that is
            semidefinite by its making; for others by a factorisation or by Lanczos. 0 or less says
            that its sign was not found; one that is indefinite is refused. None if not known.
        leverage: "on" where effects are those of one Newton step once the training example is gone
            (see `Leverage`), or "off: " and why they are to first order. None if not known.
        rounding: rank correlation of scores in low precision with those in full, over that sample;
            None where nothing was rounded.
    """

    residual: Float[Tensor, " q"]
    full_residual: Float[Tensor, " q"] | None
    converged: Bool[Tensor, " q"]
    steps: int
    damping: float
    spread: Float[Tensor, " q"] | None
    gradient_norm: Float[Tensor, " q"]
    solution_norm: Float[Tensor, " q"]
    gradient_cosine: Float[Tensor, " q"]
    score_correlation: Float[Tensor, " q"]
    reasons: tuple[str | None, ...]
    dropped: Int[Tensor, " q"]
    models: int = 1
    agreement: Float[Tensor, " q"] | None = None
    held: Float[Tensor, " q"] | None = None
    rounding: Float[Tensor, " q"] | None = None
    least_eigenvalue: float | None = None
    route: str | None = None
    leverage: str | None = None

    @property
    def resembles_gradient_product(self) -> Bool[Tensor, " q"]:
        """|score_correlation| > 0.99: the curvature might as well not be there."""
        return self.score_correlation.abs() > MAX_PRODUCT_CORRELATION

    @property
    def quarantined(self) -> Bool[Tensor, " q"]:
        """Which queries have no scores."""
        return torch.tensor([reason is not None for reason in self.reasons], dtype=torch.bool)

    def mask_failed(self, failed: Bool[Tensor, " q"]) -> "Certificate":
        """The same with NaN for what a solve that failed cannot tell."""
        names = ("residual", "full_residual", "spread", "solution_norm", "gradient_cosine")
        values = {name: getattr(self, name) for name in (*names, "score_correlation")}
        measured = {name: value for name, value in values.items() if value is not None}
        return replace(
            self,
            **{
                n: value.masked_fill(failed.to(value.device), torch.nan)
                for n, value in measured.items()
            },
        )

    def finalize(self, overflowed: Bool[Tensor, " q"], dropped: Int[Tensor, " q"]) -> "Certificate":
        """The same once scores are there: which of them overflowed, which candidates have none."""
        reasons = tuple(
            reason or (SCORES_OVERFLOWED if overflow else None)
            for reason, overflow in zip(self.reasons, overflowed.tolist(), strict=True)
        )
        final = replace(self, reasons=reasons, dropped=dropped)
        valid = ~final.quarantined.to(self.converged.device)
        return replace(final, converged=self.converged & valid)


def concat_certificates(certificates: Sequence[Certificate]) -> Certificate:
    """One certificate for all queries, from those of some each."""

    def join(name: str) -> Any:
        values = [getattr(certificate, name) for certificate in certificates]
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        if name == "route":
            return _select_route(values)
        return sum(values, ()) if isinstance(values[0], tuple) else values[0]

    merged: dict[str, Any] = {field.name: join(field.name) for field in fields(Certificate)}
    return Certificate(
        **{**merged, "steps": max(certificate.steps for certificate in certificates)}
    )


def combine_certificates(models: Sequence[Certificate]) -> Certificate:
    """One certificate for the mean of several models, see `Certificate`."""
    first = models[0]
    if len(models) == 1:
        return first
    return Certificate(
        residual=torch.stack([certificate.residual for certificate in models]).amax(0),
        full_residual=_max_or_none([certificate.full_residual for certificate in models]),
        converged=torch.stack([certificate.converged for certificate in models]).all(0),
        steps=max(certificate.steps for certificate in models),
        damping=max(certificate.damping for certificate in models),
        spread=_max_or_none([certificate.spread for certificate in models]),
        gradient_norm=torch.stack([certificate.gradient_norm for certificate in models]).mean(0),
        solution_norm=torch.stack([certificate.solution_norm for certificate in models]).mean(0),
        gradient_cosine=torch.stack([certificate.gradient_cosine for certificate in models]).amax(
            0
        ),
        score_correlation=_select_farthest(
            torch.stack([certificate.score_correlation for certificate in models])
        ),
        reasons=tuple(
            next(filter(None, reasons), None)
            for reasons in zip(*(certificate.reasons for certificate in models), strict=True)
        ),
        dropped=first.dropped,
        models=len(models),
        least_eigenvalue=_min_or_none([certificate.least_eigenvalue for certificate in models]),
        route=_select_route([certificate.route for certificate in models]),
        leverage=next(
            (certificate.leverage for certificate in models if certificate.leverage != "on"), "on"
        ),
    )


def _max_or_none(values: Sequence[Tensor | None]) -> Tensor | None:
    known = [value for value in values if value is not None]
    return torch.stack(known).amax(0) if len(known) == len(values) else None


def _min_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _select_route(routes: Sequence[str | None]) -> str | None:
    """The first that is not by hooks, if there is one."""
    known = [route for route in routes if route is not None]
    return next((route for route in known if route != HOOKS), known[0] if known else None)


def _select_farthest(correlations: Float[Tensor, "m q"]) -> Float[Tensor, " q"]:
    """Of each column the entry farthest from 0; NaN counts as 0 unless there is nothing else."""
    index = correlations.abs().nan_to_num(0.0).argmax(0, keepdim=True)
    return correlations.gather(0, index)[0]
