"""Estimator that the product chooses on a workload, from its few retrainings alone.

The choice never uses the halves, queries and outcomes of the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.fidelity.methods import Answer

if TYPE_CHECKING:
    from benchmarks.fidelity.judge import FidelityEvaluation


@dataclass(frozen=True, eq=False)
class Chosen:
    """Chosen estimator with its effects.

    Attributes:
        name: Name of the estimator, in the words of the summary.
        reason: Sentence on how it was chosen, with the held-out agreement.
        answer: Its effects [q n] and cost.
    """

    name: str
    reason: str
    answer: Answer


Choose = Callable[["FidelityEvaluation"], Chosen]
CHOOSE: Choose | None = None
"""Function that chooses as the product does; None as long as it selects the damping alone."""
