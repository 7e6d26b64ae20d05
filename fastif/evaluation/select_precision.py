"""Precision of a scan, selected by its agreement with single precision on the study's own rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif.attribution.approximate_scorer import approximate_scorer
from fastif.attribution.control_sample import compute_precision_agreement
from fastif.attribution.member import Member
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.numerics.precision import SINGLE, Precision

MIN_AGREEMENT = 0.999
"""Rank correlation with single precision that a precision must reach on every control query."""


@dataclass(frozen=True)
class PrecisionTrial:
    """Precision that was tried.

    Attributes:
        precision: Precision of passes and products.
        agreement: Smallest rank correlation over the control queries; None if the model refused it.
        refusal: Why the model does not run in this precision; empty if it does.
    """

    precision: Precision
    agreement: float | None
    refusal: str = ""


@dataclass(frozen=True)
class PrecisionSelection:
    """Selected precision of the scores of a run.

    Attributes:
        precision: Precision of passes and products.
        queries: Number of control queries.
        trials: Precisions that were tried, in order; the last is the selected one if it agrees.
    """

    precision: Precision
    queries: int
    trials: tuple[PrecisionTrial, ...]

    def __str__(self) -> str:
        """Return one line for a summary.

        Examples:
            >>> print(PrecisionSelection("bf16", 8, (PrecisionTrial("bf16", 0.9997),)))
            bf16: rank correlation with single precision at least 0.9997 on 8 queries
            >>> print(PrecisionSelection("single", 8, (PrecisionTrial("bf16", 0.98),)))
            single: bf16 has a rank correlation of 0.9800 on 8 queries, below 0.999
            >>> print(PrecisionSelection("single", 8, (PrecisionTrial("bf16", None, "no rule"),)))
            single: bf16 is refused by the model (no rule)
        """
        *_, last = self.trials
        if self.precision != SINGLE:
            return (
                f"{self.precision}: rank correlation with single precision at least "
                f"{last.agreement:.4f} on {self.queries} queries"
            )
        reasons = [
            f"{trial.precision} is refused by the model ({trial.refusal})"
            if trial.agreement is None
            else f"{trial.precision} has a rank correlation of {trial.agreement:.4f} on "
            f"{self.queries} queries, below {MIN_AGREEMENT}"
            for trial in self.trials
        ]
        return f"{SINGLE}: {'; '.join(reasons)}"


def select_precision(
    members: Sequence[Member], queries: Examples, ids: Tensor, offered: Sequence[Precision]
) -> PrecisionSelection | None:
    """Select the first offered precision with scores that agree with single precision.

    The scores of the control sample are computed in single precision and in each offered one, until
    every query has a rank correlation (Spearman) of `MIN_AGREEMENT` or more.

    Args:
        members: Models in the mean, with solves in single precision.
        queries: Table of queries.
        ids: Positions of the control queries.
        offered: Precisions in the order of preference.

    Returns:
        The selection, with single precision if none agrees; None if no precision saves anything,
        since the scores come with the solve, or no control query has scores to compare.
    """
    solved = [member.solve_to_score(queries, ids) for member in members]
    controls, exact = [result.control for result in solved], [result.scorer for result in solved]
    trials: list[PrecisionTrial] = []
    for precision in offered:
        scorers = [approximate_scorer(scorer, None, precision) for scorer in exact]
        if all(low is full for low, full in zip(scorers, exact, strict=True)):
            return None
        try:
            agreement = compute_precision_agreement(controls, scorers)
        except InputError as error:
            trials.append(PrecisionTrial(precision, None, f"{error.where}: {error.got}"))
            continue
        agreement = agreement[torch.isfinite(agreement)]
        if not len(agreement):
            return None
        trials.append(PrecisionTrial(precision, float(agreement.min())))
        if float(agreement.min()) >= MIN_AGREEMENT:
            return PrecisionSelection(precision, len(agreement), tuple(trials))
    return PrecisionSelection(SINGLE, len(ids), tuple(trials)) if trials else None
