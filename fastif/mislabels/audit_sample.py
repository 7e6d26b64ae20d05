"""Random audit samples with their verdicts: populations, sizes, and the order of the draws."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MIN_AUDITED = 30
"""Least number of verdicts in a random audit sample that yields a count."""

RIGHT, WRONG, UNKNOWN = 0, 1, -1
"""Values of `AuditedRows.verdict`."""
NO_UNIT = -1
"""Value of `AuditedRows.unit` for a row outside of the population."""


@dataclass(frozen=True, eq=False)
class AuditSample:
    """Random sample without replacement, by successive draws in proportion to size.

    The probability of unit u in the next draw is c_u s_u / Σ c s over the units of the population
    that were not drawn yet. Every prefix of the order is a sample of this design.

    Attributes:
        unit: Positions of the v units of the population in `AuditedRows`, [v].
        copies: Number c of rows of each unit when the sample was taken, [v].
        stratum: Stratum of each unit, [v].
        size: Measure of size s of a row of each unit, [v]; one for each stratum, and equal ones in
            a simple random sample.
        prior_error: Error probability of each unit when the sample was taken, [v].
        order: Drawn units as positions in `AuditedRows`, in the order of the draws up to the last
            one with a verdict, [m].
        planned: Number of draws that were planned.
    """

    unit: Int[Tensor, " v"]
    copies: Int[Tensor, " v"]
    stratum: Int[Tensor, " v"]
    size: Float[Tensor, " v"]
    prior_error: Float[Tensor, " v"]
    order: Int[Tensor, " m"]
    planned: int


@dataclass(frozen=True, eq=False)
class AuditedRows:
    """Random audit samples of a table, with the verdicts on their u units.

    A unit is all rows with one text and label; they share a verdict.

    Attributes:
        samples: Samples, the oldest first; the units are the population of the first.
        label: Given label of each unit when the sample was taken, [u].
        verdict: `WRONG`, `RIGHT` or `UNKNOWN` for each unit, in the sample or not, [u].
        copies: Number of rows of each unit when the first sample was taken, [u].
        unit: Unit of each row of the table, [n]; `NO_UNIT` outside of the population.
        unclear: Mask of units that are no longer in the table and may have been removed together
            with rows without a verdict, [u]. Other missing units were removed or relabelled because
            of their verdict.
    """

    samples: tuple[AuditSample, ...]
    label: Int[Tensor, " u"]
    verdict: Int[Tensor, " u"]
    copies: Int[Tensor, " u"]
    unit: Int[Tensor, " n"]
    unclear: Bool[Tensor, " u"]

    @property
    def answered(self) -> Int[Tensor, " m"]:
        """Drawn units with a verdict, in the order of their first draw, [m]."""
        drawn = [unit for sample in self.samples for unit in sample.order.tolist()]
        known = self.verdict != UNKNOWN
        units = [unit for unit in dict.fromkeys(drawn) if known[unit]]
        return torch.tensor(units, dtype=torch.long)

    @property
    def has_enough(self) -> bool:
        """Whether 30 drawn units or more have a verdict."""
        return len(self.answered) >= MIN_AUDITED

    @property
    def rows_in_table(self) -> Int[Tensor, " u"]:
        """Number of rows of each unit in the table, [u]."""
        return self.unit[self.unit != NO_UNIT].bincount(minlength=len(self.label))
