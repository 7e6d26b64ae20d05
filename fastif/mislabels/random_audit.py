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


GONE, UNCLEAR = -1, -2
"""Of `Drawn.place`: a row whose label was mended, or that was removed for its verdict; a row that
may as well have been removed with others that nobody looked at."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows that were drawn at random from those without a verdict, and were given one.

    Attributes:
        place: position in the table; GONE or UNCLEAR for a row that is there no more as it was.
        label: given when it was looked at.
        wrong: whether that label was.
        doubt: probability of it, as it stood before the verdict; counts where `place` is negative.
        population: which of the table's rows were drawn from.
        copies: rows that had one verdict with each, itself among them; 1 each if left out.
    """

    place: Int[Tensor, " m"]
    label: Int[Tensor, " m"]
    wrong: Bool[Tensor, " m"]
    doubt: Float[Tensor, " m"]
    population: Bool[Tensor, " n"]
    copies: Int[Tensor, " m"] | None = None

    @property
    def enough(self) -> bool:
        """Whether there are 30 or more."""
        return len(self.place) >= FEWEST

    def only(self, kept: Bool[Tensor, " m"]) -> "Drawn":
        """Some of the drawn rows."""
        place, label, wrong = self.place[kept], self.label[kept], self.wrong[kept]
        copies = None if self.copies is None else self.copies[kept]
        return Drawn(place, label, wrong, self.doubt[kept], self.population, copies)

    def weights(self, rest: int) -> Float[Tensor, " m"]:
        """How many rows without a verdict each drawn row stands for, up to a factor.

        c (1 - π) / π of a row with c copies, all of which have its verdict, and the chance
        π = 1 - (1 - m / (m + rest))^c that one of them was drawn (Horvitz and Thompson, 1952): what
        is there a hundred times is nearly always drawn, and then there is none of it left.

        Args:
            rest: rows without a verdict that were drawn from.
        """
        m = len(self.place)
        copies = torch.ones(m) if self.copies is None else self.copies
        missed = (rest / (m + rest)) ** copies.double()
        return copies * missed / (1 - missed)


@dataclass(frozen=True, eq=False)
class Sample:
    """What drawn rows say of those that they were drawn from.

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

        Logistic recalibration (Cox, 1958); the order stays. Of rows that came after the draw too,
        as if they were like the others.
        """
        return self._told(self.doubt).to(self.doubt)

    @property
    def later(self) -> Bool[Tensor, " n"]:
        """Rows without a verdict that were not drawn from: no count holds for them."""
        return ~self.seen & ~self.drawn.population

    def errors(self, label: int | None = None) -> Errors:
        """Wrong labels among the rows with a given label, or among all, with a 90 % interval.

        All but those of `later`. Those that were seen to be wrong; and of rows without a verdict
        that were drawn from the sum of recalibrated doubts, and what drawn rows differ from theirs
        on the mean (the difference estimator; Särndal, Swensson and Wretman, 1992). The interval is
        Wilson's, of a share that was seen in as many rows as the spread of those differences is
        worth. Where it is unclear why drawn rows are gone, it spans both answers.
        """
        unclear = self.drawn.place == UNCLEAR
        if not bool(unclear.any()):
            return self._errors(label)
        # Right rows are not removed for their verdicts.
        for_verdicts = replace(self, drawn=self.drawn.only(~unclear | self.drawn.wrong))
        with_others = replace(self, drawn=self.drawn.only(~unclear))
        ways = [way._errors(label) for way in (for_verdicts, with_others) if len(way.drawn.place)]
        if not ways:  # right rows alone, all of them gone
            return self._errors(label)
        middle = sum(way.expected for way in ways) / len(ways)
        return Errors(middle, min(way.low for way in ways), max(way.high for way in ways))

    def _errors(self, label: int | None) -> Errors:
        drawn, rest = self.drawn, ~self.seen & self.drawn.population
        n, of = int(rest.sum()), self._of(self.labels, label)
        known = float((self.seen & self.wrong & of).sum())
        if n == 0:
            return Errors(known, known, known)
        told = (self._told(self.doubt) * of)[rest]
        gaps = (drawn.wrong.double() - self._told(self._asked)) * self._of(drawn.label, label)
        weights = drawn.weights(n)
        weights = weights / weights.sum()
        gap = float(weights @ gaps)
        rows = float(1 / weights.square().sum())  # as many of equal weight are as sure
        share = min(max(float(told.mean()) + gap, 0.0), 1.0)
        # Rare errors may be among none of few rows; then the doubts themselves say how many.
        variance = float(weights @ (gaps - gap).square()) * rows / max(rows - 2, 1.0)
        spread = max(variance, float((told * (1 - told)).mean()))
        worth = _worth(share, spread, rows)
        low, high = _wilson(share, 1 / (1 / worth + 1 / n))
        most = float((of & rest).sum())
        return Errors(*(known + min(max(n * part, 0.0), most) for part in (share, low, high)))

    @property
    def _asked(self) -> Float[Tensor, " m"]:
        there = self.drawn.place >= 0
        return torch.where(there, self.doubt[self.drawn.place.clamp_min(0)], self.drawn.doubt)

    def _told(self, doubt: Tensor) -> Tensor:
        a, b = _recalibration(_logit(self._asked, LEAST), self.drawn.wrong)
        return (a + b * _logit(doubt)).sigmoid()

    def _of(self, labels: Tensor, label: int | None) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool) if label is None else labels == label


def _worth(share: float, spread: float, m: float) -> float:
    """Rows of 0 or 1 whose mean would be as sure; no fewer than were drawn."""
    alone = share * (1 - share)
    return m * max(1.0, alone / spread) if spread > 0 else m


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
