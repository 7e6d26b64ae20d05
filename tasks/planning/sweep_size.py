"""Size of a sweep through the training, from which its work and memory are estimated."""

import math
from dataclasses import dataclass

from fastif.solvers.cost import FLOAT32_BYTES
from fastif.unrolled.unrolled_attributor import SWEEP_GB
from tasks.models.finetune import make_training_config
from tasks.run.context import RunContext

MOMENTS = 2
"""Moments of Adam and AdamW, with which `fastif train` trains."""


@dataclass(frozen=True)
class SweepSize:
    """Size of a sweep through the training.

    Attributes:
        steps: Number of training steps.
        epochs: Number of passes over the training rows.
        is_selected: Whether the selected effects are those through the training.
    """

    steps: int
    epochs: int
    is_selected: bool

    def estimate_bytes(self, parameters: int, queries: int) -> int:
        """Return the bytes of the adjoints of a sweep, the added states, and a segment's steps.

        Examples:
            >>> SweepSize(steps=100, epochs=3, is_selected=True).estimate_bytes(1000, 10)
            480000
        """
        row_bytes = parameters * FLOAT32_BYTES
        adjoints = min((MOMENTS + 3) * queries * row_bytes, max(SWEEP_GB * 1e9, 5 * row_bytes))
        length = math.ceil(math.sqrt(self.steps))
        return int(adjoints) + length * (1 + MOMENTS + 4) * row_bytes


def measure_sweep(context: RunContext) -> SweepSize | None:
    """Return the size of a sweep of the run; None if its study tries none."""
    study = context.study
    if not study.estimator.through_training or study.training is None:
        return None
    steps = make_training_config(study, 0).count_steps(len(context.train_texts))
    return SweepSize(steps, study.training.epochs, context.is_unrolled)
