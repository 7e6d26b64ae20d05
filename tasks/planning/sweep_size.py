"""Size of a sweep through the training, from which its work and memory are estimated."""

import math
from dataclasses import dataclass

from fastif.solvers.cost import FLOAT32_BYTES
from tasks.models.finetune import make_training_config
from tasks.run.context import RunContext
from tasks.run.unrolled import limit_sweep

MOMENTS = 2
"""Moments of Adam and AdamW, with which `fastif train` trains."""


@dataclass(frozen=True)
class SweepSize:
    """Size of a sweep through the training.

    Attributes:
        steps: Number of training steps.
        epochs: Number of passes over the training rows.
        is_selected: Whether the selected effects are those through the training.
        limit_gb: Memory for the adjoints of a sweep.
    """

    steps: int
    epochs: int
    is_selected: bool
    limit_gb: float

    def estimate_bytes(self, parameters: int, queries: int, batch_size: int) -> int:
        """Return the bytes of a sweep: adjoints, added states, a segment's steps, gradients.

        Examples:
            >>> size = SweepSize(steps=100, epochs=3, is_selected=True, limit_gb=4.0)
            >>> size.estimate_bytes(parameters=1000, queries=10, batch_size=64)
            736000
        """
        row_bytes = parameters * FLOAT32_BYTES
        query_bytes = (MOMENTS + 3) * row_bytes
        adjoints = min(queries * query_bytes, max(self.limit_gb * 1e9, query_bytes))
        length = math.ceil(math.sqrt(self.steps))
        return int(adjoints) + (length * (1 + MOMENTS + 4) + batch_size) * row_bytes


def measure_sweep(context: RunContext) -> SweepSize | None:
    """Return the size of a sweep of the run; None if its study tries none."""
    study = context.study
    if not study.estimator.through_training or study.training is None:
        return None
    steps = make_training_config(study, 0).count_steps(len(context.train_examples))
    limit_gb = limit_sweep(study.run.memory_gb)
    return SweepSize(steps, study.training.epochs, context.is_unrolled, limit_gb)
