"""Draws of a random audit sample from a part of its population, with their probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logit

from fastif.mislabels.audit_sample import UNKNOWN, AuditedRows, AuditSample

LEAST_ERROR = 1e-4
"""Bound of error probabilities in the prediction of verdicts; smaller ones decide its slope."""


@dataclass(frozen=True, eq=False)
class AuditDraw:
    """A draw from the remaining rows of a target, in h cells: the strata of the sample.

    Attributes:
        rows: Number of remaining rows of the target in each cell, [h].
        mass: Total size of the remaining units of the target in each cell, [h].
        size: Size of a row in each cell, [h].
        logits: Mean logit of the prior error probabilities in each cell, [h].
        cell: Cell of the drawn unit.
        count: Number of rows of the drawn unit in the target.
        part: Fraction of the rows of the drawn unit that is in the target.
        wrong: 1 if the label was wrong, else 0.
        known: Number of wrong rows of the target that were known before the draw.
        horizon: Expected number of draws from the target when all planned draws are made.
    """

    rows: Float[np.ndarray, " h"]
    mass: Float[np.ndarray, " h"]
    size: Float[np.ndarray, " h"]
    logits: Float[np.ndarray, " h"]
    cell: int
    count: float
    part: float
    wrong: float
    known: float
    horizon: float

    @property
    def known_range(self) -> tuple[float, float]:
        """Least and largest number of wrong rows of the target that are possible afterwards."""
        low = self.known + self.count * self.wrong
        return low, low + float(self.rows.sum()) - self.count

    @property
    def factors(self) -> Float[np.ndarray, " h"]:
        """Inverse probabilities of a row of each cell in this draw, 0 in empty cells, [h]."""
        return np.where(self.mass > 0, self.mass.sum() / self.size, 0.0)


def list_draws(
    audited: AuditedRows, target: Float[np.ndarray, " u"], unknown: float
) -> list[AuditDraw]:
    """Return the draws that fell into a target, in order.

    Given that a draw falls into the target, its probabilities are those of successive draws from
    the target alone. A unit that was drawn without a verdict counts as `unknown`, so that bounds
    with 0 and with 1 hold in either case.

    Args:
        audited: Samples with verdicts.
        target: Number of rows of each unit in the target, [u].
        unknown: Outcome of units without a verdict, 0 or 1.
    """
    verdict = audited.verdict.numpy()
    outcome = np.where(verdict == UNKNOWN, unknown, verdict).astype(float)
    drawn = np.zeros(len(target), dtype=bool)
    draws: list[AuditDraw] = []
    for sample in audited.samples:
        draws += _list_sample_draws(sample, target, outcome, drawn, len(draws))
        drawn[sample.order.numpy()] = True
    return draws


def _list_sample_draws(
    sample: AuditSample,
    target: Float[np.ndarray, " u"],
    outcome: Float[np.ndarray, " u"],
    drawn: np.ndarray,
    earlier: int,
) -> Iterator[AuditDraw]:
    """Yield the draws of one sample, given the units that were drawn in earlier ones."""
    unit, copies = sample.unit.numpy(), sample.copies.numpy().astype(float)
    is_left = np.zeros(len(target), dtype=bool)
    is_left[unit] = (target[unit] > 0) & ~drawn[unit]
    # Rows with a verdict from elsewhere were not in the population of a later sample.
    known = float((target * outcome)[~is_left].sum())
    _, first, cell_of = np.unique(sample.stratum.numpy(), return_index=True, return_inverse=True)
    size = sample.size.numpy().astype(float)[first]
    left = is_left[unit]
    rows = np.bincount(cell_of, target[unit] * left)
    mass = np.bincount(cell_of, copies * left) * size
    planned = sample.planned * mass.sum() / (copies @ size[cell_of])
    logits = _average_logits(sample, cell_of, left, len(size))
    place = np.full(len(target), -1)
    place[unit] = np.arange(len(unit))
    for name in dict.fromkeys(sample.order.tolist()):
        if not is_left[name]:
            continue
        i, is_left[name] = int(place[name]), False
        cell, count, wrong = int(cell_of[i]), float(target[name]), float(outcome[name])
        yield AuditDraw(
            rows.copy(),
            mass.copy(),
            size,
            logits,
            cell,
            count,
            count / float(copies[i]),
            wrong,
            known,
            earlier + planned,
        )
        known += count * wrong
        rows[cell] -= count
        mass[cell] = max(mass[cell] - copies[i] * size[cell], 0.0) if rows[cell] > 0 else 0.0


def _average_logits(
    sample: AuditSample, cell_of: np.ndarray, left: np.ndarray, cells: int
) -> Float[np.ndarray, " h"]:
    """Mean logit of the prior error probabilities of the remaining units of each cell."""
    prior = np.clip(sample.prior_error.numpy().astype(float), LEAST_ERROR, 1 - LEAST_ERROR)
    weights = np.bincount(cell_of, left, cells)
    return np.bincount(cell_of, logit(prior) * left, cells) / np.maximum(weights, 1)
