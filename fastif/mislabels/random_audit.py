"""Random audit samples: design-based counts of wrong labels, and recalibration.

A classifier cannot distinguish errors that follow the text from right labels, nor its own
uncertainty from label noise. A reviewed random sample can: each row was sampled with a known
probability, so that the sample contains errors of every kind in a known proportion.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.mislabels.audit_draws import list_draws
from fastif.mislabels.audit_sample import NO_UNIT, UNKNOWN, WRONG, AuditedRows
from fastif.mislabels.betting_bounds import bound_total, estimate_total
from fastif.mislabels.recalibration import fit_recalibration

RECALIBRATION_PENALTY = (0.1, 0.1)
"""L2 penalties that pull the recalibration towards a = 0, b = 1, in pseudo-observations."""
MIN_ERROR = 1e-9
"""Lower bound of error probabilities in the recalibration: smaller ones would decide the slope."""
MIN_ESTIMATED = 5
"""Least number of verdicts in a label or group for which a point estimate is made."""


@dataclass(frozen=True)
class CountEstimate:
    """Estimated number of wrong labels, with a 90 % confidence interval.

    Attributes:
        expected: Point estimate, in rows; None with fewer than five verdicts.
        low: Lower bound of the interval, in rows.
        high: Upper bound of the interval, in rows.
        verdicts: Number of verdicts of the random audit sample behind it.
    """

    expected: float | None
    low: float
    high: float
    verdicts: int


@dataclass(frozen=True, eq=False)
class RandomAudit:
    """Estimates of label errors from random audit samples.

    Attributes:
        audited: The samples with their verdicts.
        labels: Given label of every row, [n].
        prior_error: Error probability of every label before reviews, [n].
        reviewed: Mask of reviewed rows, sampled or not, [n].
        wrong: Mask of reviewed rows with a wrong label, [n].

    Examples:
        >>> import torch
        >>> from fastif.mislabels import AuditedRows, AuditSample, RandomAudit
        >>> n, m = 1000, 100
        >>> rows = torch.arange(n)
        >>> ones = torch.ones(n, dtype=torch.long)
        >>> prior_error = torch.full((n,), 0.1)
        >>> is_wrong = rows % 10 == 0  # in the sample, of the first hundred rows, 10 of 100
        >>> sample = AuditSample(rows, ones, ones, ones.double(), prior_error, rows[:m], planned=m)
        >>> verdict = torch.where(rows < m, is_wrong.long(), -1)
        >>> labels = torch.zeros(n, dtype=torch.long)
        >>> audited = AuditedRows((sample,), labels, verdict, ones, rows, rows < 0)
        >>> audit = RandomAudit(audited, labels, prior_error, rows < m, is_wrong & (rows < m))
        >>> estimate = audit.estimate_errors()
        >>> round(estimate.expected, -1), estimate.low <= 100 <= estimate.high
        (100.0, True)
    """

    audited: AuditedRows
    labels: Int[Tensor, " n"]
    prior_error: Float[Tensor, " n"]
    reviewed: Bool[Tensor, " n"]
    wrong: Bool[Tensor, " n"]

    def recalibrate(self) -> Float[Tensor, " n"]:
        """Recalibrate error probabilities by logistic recalibration on the sample (Cox, 1958).

            p = σ(a + b · logit(prior_error)),   b ≥ 0

        a and b maximize the likelihood of the sampled verdicts, weighted by the inverse of their
        sizes, with a weak penalty towards a = 0, b = 1. The ranking does not change. Rows that were
        added after the sample are recalibrated like the others.

        Returns:
            Recalibrated error probability of every row, [n].
        """
        units, weights, prior_error = self._read_verdicts()
        a, b = fit_recalibration(
            _logit(prior_error, MIN_ERROR).numpy(),
            (self.audited.verdict[units] == WRONG).double().numpy(),
            RECALIBRATION_PENALTY,
            (weights / weights.mean()).numpy(),
        )
        return (a + b * _logit(self.prior_error)).sigmoid().to(self.prior_error)

    @property
    def is_later(self) -> Bool[Tensor, " n"]:
        """Mask of unreviewed rows that were not sampled from; no estimate covers them, [n]."""
        return ~self.reviewed & (self.audited.unit == NO_UNIT)

    def estimate_errors(self, label: int | None = None) -> CountEstimate:
        """Estimate the number of wrong labels in the table, with a 90 % confidence interval.

        The estimate is Raj's ordered estimator, unbiased for any detector (`estimate_total`). The
        interval is a confidence sequence: it holds after every verdict at once (`bound_total`).
        Rows of `is_later` are left out.

        Args:
            label: Given label to count errors of, a class index; None counts all.

        Returns:
            Estimated number of wrong labels.
        """
        if label is None:
            every = torch.ones_like(self.labels, dtype=torch.bool)
            return self.estimate_in(every, torch.ones_like(self.audited.label, dtype=torch.bool))
        return self.estimate_in(self.labels == label, self.audited.label == label)

    def estimate_in(self, rows: Bool[Tensor, " n"], missing: Bool[Tensor, " u"]) -> CountEstimate:
        """Estimate the number of wrong labels in a part of the table, such as a source.

        Sampled rows without a verdict count both ways, as right and as wrong. So do explanations of
        units that are no longer in the table, if it is unclear why they are missing.

        Args:
            rows: Mask of the part's rows, [n].
            missing: Mask of units that would be in the part if they were still in the table, [u].

        Returns:
            Estimated number of wrong labels in the present rows.
        """
        audited = self.audited
        is_wrong, unclear = audited.verdict == WRONG, audited.unclear
        inside = audited.unit[rows & (audited.unit != NO_UNIT)]
        present = inside.bincount(minlength=len(audited.label))
        is_gone = (audited.rows_in_table == 0) & missing & (audited.verdict != UNKNOWN)
        removed = torch.where(is_gone, audited.copies, 0)
        outside = float((self.wrong & rows & (audited.unit == NO_UNIT)).sum())
        # Rows with a right label are not removed because of their verdict.
        explanations = [removed * (~unclear | is_wrong)]
        if bool((unclear & is_gone).any()):
            explanations.append(removed * ~unclear)
        estimates = [
            _estimate_present(audited, present, removed_rows, outside)
            for removed_rows in explanations
        ]
        expected = [e.expected for e in estimates if e.expected is not None]
        return CountEstimate(
            sum(expected) / len(expected) if len(expected) == len(estimates) else None,
            min(estimate.low for estimate in estimates),
            max(estimate.high for estimate in estimates),
            max(estimate.verdicts for estimate in estimates),
        )

    def _read_verdicts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Drawn units with a verdict, their inverse sizes and their prior errors, [m] each."""
        size = torch.ones(len(self.audited.label), dtype=torch.float64)
        prior_error = torch.zeros(len(size), dtype=self.prior_error.dtype)
        for sample in reversed(self.audited.samples):
            size[sample.unit] = sample.size.double()
            prior_error[sample.unit] = sample.prior_error.to(prior_error)
        is_in = self.audited.unit != NO_UNIT
        # The present detection knows more than that of the sample.
        prior_error[self.audited.unit[is_in]] = self.prior_error[is_in]
        units = self.audited.answered
        return units, 1 / size[units], prior_error[units]


def _estimate_present(
    audited: AuditedRows, present: Tensor, removed: Tensor, outside: float
) -> CountEstimate:
    """Estimate the errors in present rows from draws of present and of removed rows."""
    target = (present + removed).double()
    is_known, is_wrong = audited.verdict != UNKNOWN, audited.verdict == WRONG
    least, most = float(target[is_wrong].sum()), float(target[~is_known | is_wrong].sum())
    is_complete = bool(is_known[torch.cat([s.order for s in audited.samples])].all())
    fillings = (0.0,) if is_complete else (0.0, 1.0)
    drawn = [list_draws(audited, target.numpy(), unknown) for unknown in fillings]
    lows, highs = zip(*(bound_total(draws, float(target.sum())) for draws in drawn), strict=True)
    low, high = (min(max(bound, least), most) for bound in (min(lows), max(highs)))
    verdicts = int((target[audited.answered] > 0).sum())
    expected = None
    if verdicts >= MIN_ESTIMATED or least == most:
        means = [estimate_total(draws) if draws else least for draws in drawn]
        expected = min(max(float(np.mean(means)), low), high)
    # Removed rows with a wrong label are not in the table any more.
    change = outside - float(removed[is_wrong].sum())
    counts = (low + change, high + change)
    return CountEstimate(None if expected is None else expected + change, *counts, verdicts)


def _logit(probability: Tensor, least: float = 1e-30) -> Tensor:
    return probability.double().clamp(least, 1 - 1e-7).logit()
