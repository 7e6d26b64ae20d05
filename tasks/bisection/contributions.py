"""Contribution of a group of changed rows to the change of a slice's loss, by removal effects."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tasks.bisection.change_groups import ChangeGroup


@dataclass(frozen=True, eq=False)
class Contribution:
    """Predicted part of the change of the mean loss that is due to one group of changed rows.

    Attributes:
        group: The changed rows.
        value: Contribution in nats, positive where the change raised the loss: the effect of
            removing the rows as they were from the earlier run, minus the effect of removing them
            as they are from the later run. None if no effect of the group is stored.
        stored: Share of the needed effects that are stored, 0 to 1. Below 1 `value` is the sum of
            the stored ones alone, which are mostly the largest.
        untrained: Number of rows that the model of their run was not trained on; they changed
            nothing.
    """

    group: ChangeGroup
    value: float | None
    stored: float
    untrained: int

    @property
    def is_complete(self) -> bool:
        """Whether every effect of the group is stored."""
        return self.value is not None and self.stored >= 1


@dataclass(frozen=True, eq=False)
class RunEffects:
    """Effects of one run on the slice, and the rows that its model was trained on.

    Attributes:
        effects: Columns of `tasks.bisection.slice_effects.read_slice_effects`.
        untrained: Positions of rows that the model was not trained on; empty if unknown.
    """

    effects: pl.DataFrame
    untrained: frozenset[int]

    def sum_over(self, rows: Sequence[int]) -> tuple[float, float, int]:
        """Return the summed effect of trained rows, the share stored, and the untrained rows."""
        trained = [row for row in rows if row not in self.untrained]
        known = self.effects.filter(pl.col("train").is_in(trained))
        total, stored = (float(known[name].sum()) for name in ("effect", "stored"))
        return total, stored, len(rows) - len(trained)


def compute_contribution(
    group: ChangeGroup, earlier: RunEffects, later: RunEffects
) -> Contribution:
    """Return the contribution of a group: effects of its earlier rows minus those of its later.

    For the rows R of the group, mean query losses L, and removal effects e in nats,
    L(later) - L(earlier) is predicted as Σ e(earlier row) - Σ e(later row): a row that was removed
    changes the loss by its effect in the earlier run, a row that was added by minus its effect in
    the later one, a row with a new label or text by both. The sum is of first order: rows that
    repeat each other have a larger effect together than its sum.
    """
    gone, gone_stored, gone_untrained = earlier.sum_over(group.before)
    came, came_stored, came_untrained = later.sum_over(group.after)
    untrained = gone_untrained + came_untrained
    needed = len(group.before) + len(group.after) - untrained
    if not needed:
        return Contribution(group, 0.0, 1.0, untrained)
    share = min(1.0, (gone_stored + came_stored) / needed)
    share = 1.0 if share > 1 - 1e-9 else share
    return Contribution(group, gone - came if share else None, share, untrained)
