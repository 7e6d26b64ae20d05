"""Certificate of an attribution: residuals, convergence, damping, and reasons of quarantine."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.evidence import (
    Evidence,
    Reduce,
    list_evidence,
    per_query,
    per_run,
    take_all,
    take_farthest,
    take_first,
    take_first_reason,
    take_max,
    take_mean,
    take_min,
    take_none,
    take_sum,
)
from fastif.gradients.route import HOOKS

MAX_PRODUCT_CORRELATION = 0.99
"""Correlation above which scores are indistinguishable from plain gradient products.

The published settings (a damping of 50) reach 0.9999 on a small network. Where the curvature
matters, the correlation is well below.
"""

NONFINITE_GRADIENT = (
    "Its gradient is not finite. Look for extreme values in its input or in the weights."
)
DIVERGED = "Its solve diverged."
SCORES_OVERFLOWED = "Its scores are too large for the precision of the model. Raise the damping."
"""Reasons why a query is quarantined, with the remedy."""

AnyCertificate = TypeVar("AnyCertificate", bound="Certificate")


def _select_route(routes: Sequence[str | None]) -> str | None:
    """Return the first route other than hooks; the first route if all use hooks."""
    known = [route for route in routes if route is not None]
    return next((route for route in known if route != HOOKS), known[0] if known else None)


def _select_leverage(modes: Sequence[str | None]) -> str | None:
    """Return the first leverage mode other than "on", so that a first-order member is visible."""
    return next((mode for mode in modes if mode != "on"), "on")


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificate:
    """Evidence of how well q queries were solved, one number for each query or run.

    A number that does not apply to a query is NaN. For an `Ensemble` each number is the worst of
    its members: the largest residuals and steps, the cosine and correlation nearest to 1. Norms are
    means. The metadata of a field define how values are combined over models and concatenated over
    batches, see `Evidence`.

    Attributes:
        residual: Relative residual ‖b - A x‖ / ‖b‖ of the solved system, A the damped operator, b
            the query gradient and x = s_test.
        full_residual: Relative residual with the curvature of the full training set; None if it was
            not measured.
        converged: Whether the residual is within the solver's tolerance and the query has scores.
        steps: Number of sweeps over the operator.
        damping: Effective damping λ, added to the diagonal of the curvature.
        spread: Relative standard deviation of s_test over the repetitions of a stochastic solver;
            None for a solver without repetitions.
        gradient_norm: Norm ‖∇L(query)‖ of the query gradient.
        solution_norm: Norm ‖s_test‖ of the solution.
        gradient_cosine: Cosine between s_test and ∇L(query). At 1 the solve changed the length
            alone.
        score_correlation: Pearson correlation of the scores with ∇L(query)ᵀ ∇L(train), over a fixed
            random sample of up to 256 training examples (the control sample).
        reasons: Reason of quarantine of each query; None for a query with scores.
        dropped: Number of the query's candidates without a score, because their own gradient is not
            finite.
        models: Number of models in the mean.
        agreement: Mean Spearman correlation of the models' scores over the control sample; None for
            one model.
        held: Captured share of the total absolute effect Σ |removal_effect|: that of the
            candidates. The rest is estimated from the control sample. None in a full scan.
        route: Method of the per-example gradients: "hooks", or "one by one" with the reason. None
            where no gradient was computed.
        least_eigenvalue: Lower bound of the smallest eigenvalue of H + λI: λ for a curvature that
            is positive semidefinite by construction, else from a factorisation or the Lanczos
            method. 0 or less if the sign could not be determined; an indefinite operator is
            refused. None if not known.
        leverage: "on" for effects of one Newton step with the training example's own curvature
            removed (see `Leverage`), or "off: " with the reason why effects are first-order. None
            if not known.
        rounding: Spearman correlation of scores in reduced precision or rank with those in full,
            over the control sample; None where scores are exact.
    """

    residual: Float[Tensor, " q"] = field(metadata=per_query(take_max, needs_solution=True))
    full_residual: Float[Tensor, " q"] | None = field(
        default=None, metadata=per_query(take_max, needs_solution=True)
    )
    converged: Bool[Tensor, " q"] = field(metadata=per_query(take_all))
    steps: int = field(metadata=per_run(take_max, concat=take_max))
    damping: float = field(metadata=per_run(take_max))
    spread: Float[Tensor, " q"] | None = field(
        default=None, metadata=per_query(take_max, needs_solution=True)
    )
    gradient_norm: Float[Tensor, " q"] = field(metadata=per_query(take_mean))
    solution_norm: Float[Tensor, " q"] = field(metadata=per_query(take_mean, needs_solution=True))
    gradient_cosine: Float[Tensor, " q"] = field(metadata=per_query(take_max, needs_solution=True))
    score_correlation: Float[Tensor, " q"] = field(
        metadata=per_query(take_farthest, needs_solution=True)
    )
    reasons: tuple[str | None, ...] = field(metadata=per_query(take_first_reason))
    dropped: Int[Tensor, " q"] = field(metadata=per_query(take_first))
    models: int = field(default=1, metadata=per_run(take_sum))
    agreement: Float[Tensor, " q"] | None = field(default=None, metadata=per_query(take_none))
    held: Float[Tensor, " q"] | None = field(default=None, metadata=per_query(take_none))
    rounding: Float[Tensor, " q"] | None = field(default=None, metadata=per_query(take_none))
    least_eigenvalue: float | None = field(default=None, metadata=per_run(take_min))
    route: str | None = field(default=None, metadata=per_run(_select_route, concat=_select_route))
    leverage: str | None = field(default=None, metadata=per_run(_select_leverage))

    @property
    def resembles_gradient_product(self) -> Bool[Tensor, " q"]:
        """Whether |score_correlation| > 0.99: the curvature has no visible effect on the scores."""
        return self.score_correlation.abs() > MAX_PRODUCT_CORRELATION

    @property
    def quarantined(self) -> Bool[Tensor, " q"]:
        """Mask of the queries without scores."""
        return torch.tensor([reason is not None for reason in self.reasons], dtype=torch.bool)

    def mask_failed(self: AnyCertificate, failed: Bool[Tensor, " q"]) -> AnyCertificate:
        """Return a certificate with NaN in the numbers that need a solution, for failed queries."""
        rules = list_evidence(type(self))
        values = {name: getattr(self, name) for name in rules if rules[name].needs_solution}
        masked = {
            name: value.masked_fill(failed.to(value.device), torch.nan)
            for name, value in values.items()
            if value is not None
        }
        return replace(self, **masked)

    def finalize(self, overflowed: Bool[Tensor, " q"], dropped: Int[Tensor, " q"]) -> "Certificate":
        """Return a certificate with overflowed queries quarantined and dropped examples counted."""
        reasons = tuple(
            reason or (SCORES_OVERFLOWED if overflow else None)
            for reason, overflow in zip(self.reasons, overflowed.tolist(), strict=True)
        )
        final = replace(self, reasons=reasons, dropped=dropped)
        valid = ~final.quarantined.to(self.converged.device)
        return replace(final, converged=self.converged & valid)


def make_blank_certificate(
    converged: Bool[Tensor, " q"],
    damping: float,
    reasons: tuple[str | None, ...],
    leverage: str | None = None,
) -> Certificate:
    """Return the certificate of scores without a solve: all other numbers are NaN or None."""
    unknown = torch.full((len(reasons),), torch.nan)
    required = [item.name for item in fields(Certificate) if item.default is MISSING]
    known = {"converged": converged, "damping": damping, "reasons": reasons, "leverage": leverage}
    known |= {"steps": 0, "dropped": torch.zeros(len(reasons), dtype=torch.long)}
    return Certificate(**{**dict.fromkeys(required, unknown), **known})


def concat_certificates(certificates: Sequence[AnyCertificate]) -> AnyCertificate:
    """Concatenate the certificates of batches of queries."""
    return _reduce(certificates, {n: r.concat for n, r in _list_rules(certificates).items()})


def combine_certificates(models: Sequence[AnyCertificate]) -> AnyCertificate:
    """Combine the certificates of several models into that of their mean, see `Certificate`."""
    if len(models) == 1:
        return models[0]
    return _reduce(models, {n: r.combine for n, r in _list_rules(models).items()})


def _list_rules(certificates: Sequence[Certificate]) -> dict[str, Evidence]:
    return list_evidence(type(certificates[0]))


def _reduce(
    certificates: Sequence[AnyCertificate], reductions: Mapping[str, Reduce]
) -> AnyCertificate:
    values = {
        name: reduction([getattr(certificate, name) for certificate in certificates])
        for name, reduction in reductions.items()
    }
    return type(certificates[0])(**values)
