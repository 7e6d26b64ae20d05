"""Recall of injected label flips, divided by the recall that a perfect ranking would reach."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REPEATS = 2
"""Number of sets of flips of a detection; earlier versions record the flips of all sets only."""
KINDS = ("any", "confusable")
"""Kinds of flips: to a uniformly random label, and to a confusable one."""


@dataclass(frozen=True)
class ReachableRecall:
    """Recall of injected label flips among the first rows of the ranking.

    Attributes:
        flips: Number of flipped labels over all sets.
        inspected: Number of first rows, of each set, among which flips are counted.
        recall: Recall by kind of flip: flips among the first rows / flips; without kinds that have
            no flip.
        reachable: Recall of a perfect ranking, min(k, f) / f for f flips a set and k rows.
    """

    flips: int
    inspected: int
    recall: Mapping[str, float]
    reachable: float

    @property
    def of_reachable(self) -> dict[str, float]:
        """Recall divided by `reachable`, by kind; at most 1.

        A kind alone can exceed `reachable`, which is that of all flips together.
        """
        return {kind: min(1.0, share / self.reachable) for kind, share in self.recall.items()}

    @property
    def shares(self) -> tuple[str, ...]:
        """`of_reachable` of each kind, in words."""
        return tuple(
            f"{self.of_reachable[kind]:.0%}" if kind in self.recall else "none" for kind in KINDS
        )

    def __str__(self) -> str:
        """The recall in words.

        Examples:
            >>> print(ReachableRecall(350, 100, {"any": 0.4, "confusable": 0.2}, 100 / 175))
            of 350 labels flipped in copies of the data, at most 57% fit into the first 100 rows; \
of these 70% (flipped to a random label) and 35% (to a confusable one) are there
        """
        head = f"of {self.flips:,} labels flipped in copies of the data"
        uniform, confusable = self.shares
        kinds = f"{uniform} (flipped to a random label) and {confusable} (to a confusable one)"
        if self.reachable < 1:
            return (
                f"{head}, at most {self.reachable:.0%} fit into the first {self.inspected:,} rows; "
                f"of these {kinds} are there"
            )
        return f"{head}, {kinds} are among the first {self.inspected:,} rows"

    def make_record(self) -> dict[str, Any]:
        """Return the recall with its parts, for JSON."""
        return {
            "flips": self.flips,
            "inspected": self.inspected,
            "recall": dict(self.recall),
            "reachable": self.reachable,
            "recall_of_reachable": self.of_reachable,
        }


def read_reachable_recall(facts: Mapping[str, Any]) -> ReachableRecall | None:
    """Read the recall of injected flips of a detection; None if no label was flipped.

    Args:
        facts: Summary of the detection; those of earlier versions have no reachable recall, so it
            follows from the numbers of flips and rows.
    """
    recorded = facts.get("recall") or {}
    flips = int(recorded.get("planted") or 0)
    if not flips:
        return None
    shares = {
        kind: float(recorded[kind])
        for kind in KINDS
        if isinstance(recorded.get(kind), int | float) and math.isfinite(recorded[kind])
    }
    inspected = int(recorded["budget"])
    reachable = recorded.get("reachable", min(1.0, REPEATS * inspected / flips))
    return ReachableRecall(flips, inspected, shares, float(reachable))
