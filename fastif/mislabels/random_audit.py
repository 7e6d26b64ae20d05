"""Random audit sample: a design-based estimate of the number of label errors, and recalibration.

A classifier cannot distinguish errors that follow the text from right labels, nor its own
uncertainty from label noise. A reviewed random sample can: it contains errors of every kind in
proportion.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

MIN_AUDITED = 30
"""Minimum size of an audit sample, in reviewed rows."""

RECALIBRATION_PRIOR = 0.1
"""L2 penalty that pulls the recalibration towards a = 0, b = 1, in pseudo-observations."""

MIN_ERROR = 1e-9
"""Lower bound of error probabilities in the recalibration: smaller ones would decide the slope."""

Z90 = 1.645
"""Quantile of the normal distribution for two-sided 90 % intervals."""


@dataclass(frozen=True)
class CountEstimate:
    """Estimated number of wrong labels, with a 90 % confidence interval.

    Attributes:
        expected: Point estimate, in rows.
        low: Lower bound of the interval, in rows.
        high: Upper bound of the interval, in rows.
    """

    expected: float
    low: float
    high: float


REMOVED_ROW = -1
"""Value of `AuditedRows.position` for a row removed or relabelled because of its review."""
UNCLEAR = -2
"""Value of `AuditedRows.position` for a row that may have been removed with unreviewed rows."""


@dataclass(frozen=True, eq=False)
class AuditedRows:
    """Reviewed rows of a simple random sample of the rows that had no annotation.

    Attributes:
        position: Position of each sampled row in the table, [m]; `REMOVED_ROW` or `UNCLEAR` if it
            is no longer there with its text and label.
        label: Given label at the time of the review, [m].
        wrong: Whether the review found this label wrong, [m].
        prior_error: Error probability before the review, [m]; used where `position` is negative.
        population: Mask of the table's rows that were sampled from, [n].
        copies: Number of rows that share the annotation of each sampled row, itself included, [m];
            None for 1 each.
    """

    position: Int[Tensor, " m"]
    label: Int[Tensor, " m"]
    wrong: Bool[Tensor, " m"]
    prior_error: Float[Tensor, " m"]
    population: Bool[Tensor, " n"]
    copies: Int[Tensor, " m"] | None = None

    @property
    def has_enough(self) -> bool:
        """Whether the sample has 30 rows or more."""
        return len(self.position) >= MIN_AUDITED

    def select(self, mask: Bool[Tensor, " m"]) -> "AuditedRows":
        """Return the sampled rows of a mask."""
        position, label, wrong = self.position[mask], self.label[mask], self.wrong[mask]
        copies = None if self.copies is None else self.copies[mask]
        return AuditedRows(position, label, wrong, self.prior_error[mask], self.population, copies)

    def compute_weights(self, unreviewed_count: int) -> Float[Tensor, " m"]:
        """Return the Horvitz-Thompson weight of each sampled row, up to a factor (1952), [m].

            w = c (1 - π) / π,   π = 1 - (1 - m / (m + N))^c

        π is the probability that any of c copies is sampled, of m sampled and N unreviewed rows. A
        text with many copies is nearly always sampled, and then none of its copies is left
        unreviewed.

        Args:
            unreviewed_count: Number N of rows that were sampled from and have no annotation.
        """
        m = len(self.position)
        copies = torch.ones(m) if self.copies is None else self.copies
        missed = (unreviewed_count / (m + unreviewed_count)) ** copies.double()
        return copies * missed / (1 - missed)


@dataclass(frozen=True, eq=False)
class RandomAudit:
    """Estimates of label errors from a random audit sample.

    Attributes:
        audited: The reviewed random sample.
        labels: Given label of every row, [n].
        prior_error: Error probability of every label before reviews, [n].
        reviewed: Mask of reviewed rows, sampled or not, [n].
        wrong: Mask of reviewed rows with a wrong label, [n].

    Examples:
        >>> import torch
        >>> from fastif.mislabels import AuditedRows, RandomAudit
        >>> n, m = 1000, 100
        >>> wrong = torch.arange(m) < 10  # 10 of 100 sampled labels are wrong
        >>> sample = AuditedRows(
        ...     torch.arange(m), torch.zeros(m, dtype=torch.long), wrong,
        ...     torch.full((m,), 0.1), torch.ones(n, dtype=torch.bool),
        ... )
        >>> reviewed = torch.arange(n) < m
        >>> is_wrong = torch.zeros(n, dtype=torch.bool)
        >>> is_wrong[:m] = wrong
        >>> labels = torch.zeros(n, dtype=torch.long)
        >>> audit = RandomAudit(sample, labels, torch.full((n,), 0.1), reviewed, is_wrong)
        >>> estimate = audit.estimate_errors()
        >>> round(estimate.expected), round(estimate.low), round(estimate.high)
        (100, 63, 158)
    """

    audited: AuditedRows
    labels: Int[Tensor, " n"]
    prior_error: Float[Tensor, " n"]
    reviewed: Bool[Tensor, " n"]
    wrong: Bool[Tensor, " n"]

    def recalibrate(self) -> Float[Tensor, " n"]:
        """Recalibrate error probabilities by logistic recalibration on the sample (Cox, 1958).

            p = σ(a + b · logit(prior_error)),   b ≥ 0

        a and b maximize the likelihood of the sampled reviews, with a weak penalty towards a = 0, b
        = 1. The ranking does not change. Rows that were added after the sample are recalibrated
        like the others.

        Returns:
            Recalibrated error probability of every row, [n].
        """
        return self._recalibrate_error(self.prior_error).to(self.prior_error)

    @property
    def is_later(self) -> Bool[Tensor, " n"]:
        """Mask of unreviewed rows that were not sampled from; no estimate covers them, [n]."""
        return ~self.reviewed & ~self.audited.population

    def estimate_errors(self, label: int | None = None) -> CountEstimate:
        """Estimate the number of wrong labels by the difference estimator, with a 90 % interval.

            errors = reviewed wrong rows + Σ_u p_u + N · mean_s(wrong_s - p_s)

        u are the N unreviewed rows, s the sampled ones, and p recalibrated error probabilities. The
        mean is weighted by `AuditedRows.compute_weights`. This is the difference estimator of
        survey sampling (Särndal, Swensson and Wretman, 1992), the point estimate of
        prediction-powered inference: unbiased for fixed p, and more precise the better p is. The
        confidence interval is Wilson's, for the number of binary observations with the same
        variance. Rows of `is_later` are left out. If it is unclear why sampled rows are missing,
        the interval covers both explanations.

        Args:
            label: Given label to count errors of, a class index; None counts all.

        Returns:
            Estimated number of wrong labels.
        """
        unclear = self.audited.position == UNCLEAR
        if not bool(unclear.any()):
            return self._estimate_errors(label)
        # Rows with a right label are not removed because of their review.
        with_unclear_wrong = replace(
            self, audited=self.audited.select(~unclear | self.audited.wrong)
        )
        without_unclear = replace(self, audited=self.audited.select(~unclear))
        estimates = [
            audit._estimate_errors(label)
            for audit in (with_unclear_wrong, without_unclear)
            if len(audit.audited.position)
        ]
        if not estimates:  # only rows with a right label, all of them missing
            return self._estimate_errors(label)
        expected = sum(estimate.expected for estimate in estimates) / len(estimates)
        return CountEstimate(
            expected,
            min(estimate.low for estimate in estimates),
            max(estimate.high for estimate in estimates),
        )

    def _estimate_errors(self, label: int | None) -> CountEstimate:
        audited, unreviewed = self.audited, ~self.reviewed & self.audited.population
        n, in_label = int(unreviewed.sum()), self._has_label(self.labels, label)
        known = float((self.reviewed & self.wrong & in_label).sum())
        if n == 0:
            return CountEstimate(known, known, known)
        probabilities = (self._recalibrate_error(self.prior_error) * in_label)[unreviewed]
        differences = (
            audited.wrong.double() - self._recalibrate_error(self._audited_error)
        ) * self._has_label(audited.label, label)
        weights = audited.compute_weights(n)
        weights = weights / weights.sum()
        difference = float(weights @ differences)
        effective_rows = float(1 / weights.square().sum())  # Kish's effective sample size
        share = min(max(float(probabilities.mean()) + difference, 0.0), 1.0)
        # A small sample may have no rare error; the probabilities then bound the variance below.
        variance = (
            float(weights @ (differences - difference).square())
            * effective_rows
            / max(effective_rows - 2, 1.0)
        )
        spread = max(variance, float((probabilities * (1 - probabilities)).mean()))
        effective_n = _effective_n(share, spread, effective_rows)
        low, high = _wilson_interval(share, 1 / (1 / effective_n + 1 / n))
        max_errors = float((in_label & unreviewed).sum())
        return CountEstimate(
            *(known + min(max(n * bound, 0.0), max_errors) for bound in (share, low, high))
        )

    @property
    def _audited_error(self) -> Float[Tensor, " m"]:
        present = self.audited.position >= 0
        return torch.where(
            present, self.prior_error[self.audited.position.clamp_min(0)], self.audited.prior_error
        )

    def _recalibrate_error(self, error: Tensor) -> Tensor:
        a, b = _fit_recalibration(_logit(self._audited_error, MIN_ERROR), self.audited.wrong)
        return (a + b * _logit(error)).sigmoid()

    def _has_label(self, labels: Tensor, label: int | None) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool) if label is None else labels == label


def _effective_n(share: float, spread: float, m: float) -> float:
    """Effective number of binary observations with the same variance of the mean; at least m."""
    binomial_variance = share * (1 - share)
    return m * max(1.0, binomial_variance / spread) if spread > 0 else m


def _wilson_interval(share: float, rows: float) -> tuple[float, float]:
    z2 = Z90**2 / rows
    middle = (share + z2 / 2) / (1 + z2)
    half = (share * (1 - share) * z2 + z2**2 / 4) ** 0.5 / (1 + z2)
    return middle - half, middle + half


def _logit(probability: Tensor, least: float = 1e-30) -> Tensor:
    return probability.double().clamp(least, 1 - 1e-7).logit()


def _fit_recalibration(logits: Tensor, wrong: Tensor) -> tuple[float, float]:
    z, outcomes = logits.numpy(), wrong.double().numpy()

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        linear = coefficients[0] + coefficients[1] * z
        deviation = coefficients - [0.0, 1.0]
        terms = np.logaddexp(0.0, linear) - outcomes * linear
        residuals = expit(linear) - outcomes
        gradient = np.array([residuals.sum(), residuals @ z]) + RECALIBRATION_PRIOR * deviation
        return float(terms.sum() + RECALIBRATION_PRIOR / 2 * deviation @ deviation), gradient

    bounds = [(None, None), (0.0, None)]
    a, b = minimize(loss, [0.0, 1.0], jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(a), float(b)
