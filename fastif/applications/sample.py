"""Rows drawn at random and looked at: how many labels are wrong in all, and how sure doubts are.

What a classifier says of labels cannot tell errors that follow the text from right labels, nor
doubt from noise. Rows drawn at random can: whatever errors are like, they are among these as often
as among all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

FEWEST = 30
"""Drawn rows with a verdict below which they say too little."""

AHEAD = 0.1
"""Rows that stand for doubts as they are: the weight of what recalibration pulls towards."""

LEAST = 1e-9
"""Doubt below which rows say the same of the slope: one of them would decide it alone."""

Z90 = 1.645


@dataclass(frozen=True)
class Errors:
    """An expected number of wrong labels, and the ends of its interval."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows that were drawn at random from those without a verdict, and were given one.

    Attributes:
        place: position in the table; -1 for a row that is there no more as it was, since its label
            was mended or it was removed.
        label: given when it was looked at.
        wrong: whether that label was.
        doubt: probability of it, as told before the verdict; counts where `place` is -1.
    """

    place: Int[Tensor, " m"]
    label: Int[Tensor, " m"]
    wrong: Bool[Tensor, " m"]
    doubt: Float[Tensor, " m"]

    @property
    def enough(self) -> bool:
        """Whether there are 30 or more."""
        return len(self.place) >= FEWEST


@dataclass(frozen=True, eq=False)
class Sample:
    """What drawn rows say of all.

    Attributes:
        drawn: these.
        labels: of all rows.
        doubt: probability of a wrong label of every row, made without its verdict.
        seen: rows with a verdict, drawn or not.
        wrong: which of these have a wrong label.
    """

    drawn: Drawn
    labels: Int[Tensor, " n"]
    doubt: Float[Tensor, " n"]
    seen: Bool[Tensor, " n"]
    wrong: Bool[Tensor, " n"]

    def recalibrated(self) -> Float[Tensor, " n"]:
        """σ(a + b · logit(doubt)) with the a and b ≥ 0 under which the verdicts are likeliest.

        Logistic recalibration (Cox, 1958); the order stays.
        """
        return self._told(self.doubt).to(self.doubt)

    def errors(self, label: int | None = None) -> Errors:
        """Wrong labels among the rows with a given label, or among all, with a 90 % interval.

        Those that were seen to be wrong; and of rows without a verdict the sum of recalibrated
        doubts, and what drawn rows differ from theirs on the mean (the difference estimator;
        Särndal, Swensson and Wretman, 1992). The interval is Wilson's, of a share that was seen in
        as many rows as the spread of those differences is worth.
        """
        n, drawn = int((~self.seen).sum()), self.drawn
        of = self._of(self.labels, label)
        known = float((self.seen & self.wrong & of).sum())
        if n == 0:
            return Errors(known, known, known)
        told = (self._told(self.doubt) * of)[~self.seen]
        gaps = (drawn.wrong.double() - self._told(self._asked)) * self._of(drawn.label, label)
        share = min(max(float(told.mean() + gaps.mean()), 0.0), 1.0)
        # Rare errors may be among none of few rows; then the doubts themselves say how many.
        spread = max(float(gaps.var(correction=2)), float((told * (1 - told)).mean()))
        worth = _worth(share, spread, len(gaps))
        low, high = _wilson(share, 1 / (1 / worth + 1 / n))
        most = float((of & ~self.seen).sum())
        return Errors(*(known + min(max(n * part, 0.0), most) for part in (share, low, high)))

    @property
    def _asked(self) -> Float[Tensor, " m"]:
        there = self.drawn.place >= 0
        return torch.where(there, self.doubt[self.drawn.place], self.drawn.doubt)

    def _told(self, doubt: Tensor) -> Tensor:
        a, b = _recalibration(_logit(self._asked, LEAST), self.drawn.wrong)
        return (a + b * _logit(doubt)).sigmoid()

    def _of(self, labels: Tensor, label: int | None) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool) if label is None else labels == label


def _worth(share: float, spread: float, m: int) -> float:
    """Rows of 0 or 1 whose mean would be as sure; no fewer than were drawn."""
    alone = share * (1 - share)
    return m * max(1.0, alone / spread) if spread > 0 else float(m)


def _wilson(share: float, rows: float) -> tuple[float, float]:
    z2 = Z90**2 / rows
    middle = (share + z2 / 2) / (1 + z2)
    half = (share * (1 - share) * z2 + z2**2 / 4) ** 0.5 / (1 + z2)
    return middle - half, middle + half


def _logit(doubt: Tensor, least: float = 1e-30) -> Tensor:
    return doubt.double().clamp(least, 1 - 1e-7).logit()


def _recalibration(asked: Tensor, wrong: Tensor) -> tuple[float, float]:
    z, answers = asked.numpy(), wrong.double().numpy()

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        told = numbers[0] + numbers[1] * z
        away = numbers - [0.0, 1.0]
        each = np.logaddexp(0.0, told) - answers * told
        slope = expit(told) - answers
        steepness = np.array([slope.sum(), slope @ z]) + AHEAD * away
        return float(each.sum() + AHEAD / 2 * away @ away), steepness

    bounds = [(None, None), (0.0, None)]
    a, b = minimize(loss, [0.0, 1.0], jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(a), float(b)
