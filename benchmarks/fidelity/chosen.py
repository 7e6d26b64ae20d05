"""Estimator that the product chooses on a workload, from its few retrainings alone.

The choice never uses the halves, queries and outcomes of the truth.
"""

from dataclasses import dataclass

from benchmarks.fidelity.methods import Answer


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
