"""Rows drawn at random and looked at: how many labels are wrong in all, and how sure doubts are.

What a classifier says of labels cannot tell errors that follow the text from right labels, nor
doubt from noise. Rows drawn at random can: whatever errors are like, they are among these as often
as among all.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

MIN_AUDITED = 30
"""Drawn rows with a verdict below which they say too little."""

RECALIBRATION_PRIOR = 0.1
"""Rows that stand for doubts as they are: the weight of what recalibration pulls towards."""

MIN_ERROR = 1e-9
"""Doubt below which rows say the same of the slope: one of them would decide it alone."""

Z90 = 1.645


@dataclass(frozen=True)
class CountEstimate:
    """An expected number of wrong labels, and the ends of its interval."""

    expected: float
    low: float
    high: float


REMOVED_ROW, UNCLEAR = -1, -2
"""Of `AuditedRows.position`: a row whose label was mended, or that was removed for its verdict; a
row that may as well have been removed with others that nobody looked at."""


@dataclass(frozen=True, eq=False)
class AuditedRows:
    """Rows that were drawn at random from those without a verdict, and were given one.

    Attributes:
        position: position in the table; GONE or UNCLEAR for a row that is there no more as it was.
        label: given when it was looked at.
        wrong: whether that label was.
        prior_error: probability of it, as it stood before the verdict; counts where `position` is
            negative.
        population: which of the table's rows were drawn from.
        copies: rows that had one verdict with each, itself among them; 1 each if left out.
    """

    position: Int[Tensor, " m"]
    label: Int[Tensor, " m"]
    wrong: Bool[Tensor, " m"]
    prior_error: Float[Tensor, " m"]
    population: Bool[Tensor, " n"]
    copies: Int[Tensor, " m"] | None = None

    @property
    def has_enough(self) -> bool:
        """Whether there are 30 or more."""
        return len(self.position) >= MIN_AUDITED

    def select(self, mask: Bool[Tensor, " m"]) -> "AuditedRows":
        """Some of the drawn rows."""
        position, label, wrong = self.position[mask], self.label[mask], self.wrong[mask]
        copies = None if self.copies is None else self.copies[mask]
        return AuditedRows(position, label, wrong, self.prior_error[mask], self.population, copies)

    def compute_weights(self, unreviewed_count: int) -> Float[Tensor, " m"]:
        """How many rows without a verdict each drawn row stands for, up to a factor.

        c (1 - π) / π of a row with c copies, all of which have its verdict, and the chance
        π = 1 - (1 - m / (m + rest))^c that one of them was drawn (Horvitz and Thompson, 1952): what
        is there a hundred times is nearly always drawn, and then there is none of it left.

        Args:
            unreviewed_count: rows without a verdict that were drawn from.
        """
        m = len(self.position)
        copies = torch.ones(m) if self.copies is None else self.copies
        missed = (unreviewed_count / (m + unreviewed_count)) ** copies.double()
        return copies * missed / (1 - missed)


@dataclass(frozen=True, eq=False)
class RandomAudit:
    """What drawn rows say of those that they were drawn from.

    Attributes:
        audited: these.
        labels: of all rows.
        prior_error: probability of a wrong label of every row, made without its verdict.
        reviewed: rows with a verdict, drawn or not.
        wrong: which of these have a wrong label.
    """

    audited: AuditedRows
    labels: Int[Tensor, " n"]
    prior_error: Float[Tensor, " n"]
    reviewed: Bool[Tensor, " n"]
    wrong: Bool[Tensor, " n"]

    def recalibrate(self) -> Float[Tensor, " n"]:
        """σ(a + b · logit(doubt)) with the a and b ≥ 0 under which the verdicts are likeliest.

        Logistic recalibration (Cox, 1958); the order stays. Of rows that came after the draw too,
        as if they were like the others.
        """
        return self._recalibrate_error(self.prior_error).to(self.prior_error)

    @property
    def is_later(self) -> Bool[Tensor, " n"]:
        """Rows without a verdict that were not drawn from: no count holds for them."""
        return ~self.reviewed & ~self.audited.population

    def estimate_errors(self, label: int | None = None) -> CountEstimate:
        """Wrong labels among the rows with a given label, or among all, with a 90 % interval.

        All but those of `is_later`. Those that were seen to be wrong; and of rows without a verdict
        that were drawn from the sum of recalibrated doubts, and what drawn rows differ from theirs
        on the mean (the difference estimator; Särndal, Swensson and Wretman, 1992). The interval is
        Wilson's, of a share that was seen in as many rows as the spread of those differences is
        worth. Where it is unclear why drawn rows are gone, it spans both answers.
        """
        unclear = self.audited.position == UNCLEAR
        if not bool(unclear.any()):
            return self._estimate_errors(label)
        # Right rows are not removed for their verdicts.
        with_unclear_wrong = replace(
            self, audited=self.audited.select(~unclear | self.audited.wrong)
        )
        without_unclear = replace(self, audited=self.audited.select(~unclear))
        estimates = [
            audit._estimate_errors(label)
            for audit in (with_unclear_wrong, without_unclear)
            if len(audit.audited.position)
        ]
        if not estimates:  # right rows alone, all of them gone
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
        effective_rows = float(1 / weights.square().sum())  # as many of equal weight are as sure
        share = min(max(float(probabilities.mean()) + difference, 0.0), 1.0)
        # Rare errors may be among none of few rows; then the doubts themselves say how many.
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
    """Rows of 0 or 1 whose mean would be as sure; no fewer than were drawn."""
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
