"""The certificate of an answer: how it was solved, on how much, and what is wrong with it."""

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

AnyCertificate = TypeVar("AnyCertificate", bound="Certificate")


def _select_route(routes: Sequence[str | None]) -> str | None:
    """The first that is not by hooks, if there is one."""
    known = [route for route in routes if route is not None]
    return next((route for route in known if route != HOOKS), known[0] if known else None)


def _select_leverage(modes: Sequence[str | None]) -> str | None:
    """The first that is to first order, if there is one."""
    return next((mode for mode in modes if mode != "on"), "on")


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificate:
    """What is known about the answers to q queries. Numbers are NaN where there is nothing to say.

    Of several models (see `Ensemble`) it is the worst of theirs, number by number: the largest
    residuals and steps, the cosine and correlation nearest to 1. Norms are means. Each field's
    metadata say how models are combined and batches concatenated, see `Evidence`: a new number is
    one field more, and whoever measures it.

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
        """|score_correlation| > 0.99: the curvature might as well not be there."""
        return self.score_correlation.abs() > MAX_PRODUCT_CORRELATION

    @property
    def quarantined(self) -> Bool[Tensor, " q"]:
        """Which queries have no scores."""
        return torch.tensor([reason is not None for reason in self.reasons], dtype=torch.bool)

    def mask_failed(self: AnyCertificate, failed: Bool[Tensor, " q"]) -> AnyCertificate:
        """The same with NaN for what a solve that failed cannot tell."""
        rules = list_evidence(type(self))
        values = {name: getattr(self, name) for name in rules if rules[name].needs_solution}
        masked = {
            name: value.masked_fill(failed.to(value.device), torch.nan)
            for name, value in values.items()
            if value is not None
        }
        return replace(self, **masked)

    def finalize(self, overflowed: Bool[Tensor, " q"], dropped: Int[Tensor, " q"]) -> "Certificate":
        """The same once scores are there: which of them overflowed, which candidates have none."""
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
    """The certificate of answers that nothing was solved for: other numbers are NaN or None."""
    unknown = torch.full((len(reasons),), torch.nan)
    required = [item.name for item in fields(Certificate) if item.default is MISSING]
    known = {"converged": converged, "damping": damping, "reasons": reasons, "leverage": leverage}
    known |= {"steps": 0, "dropped": torch.zeros(len(reasons), dtype=torch.long)}
    return Certificate(**{**dict.fromkeys(required, unknown), **known})


def concat_certificates(certificates: Sequence[AnyCertificate]) -> AnyCertificate:
    """One certificate for all queries, from those of some each."""
    return _reduce(certificates, {n: r.concat for n, r in _list_rules(certificates).items()})


def combine_certificates(models: Sequence[AnyCertificate]) -> AnyCertificate:
    """One certificate for the mean of several models, see `Certificate`."""
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
