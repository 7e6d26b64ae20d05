"""Stored states of a training: at which steps, within which disk, and the moments in them."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fastif.unrolled.optimizer_spec import OptimizerSpec
from fastif.unrolled.record_training import choose_state_steps

MOMENT_KEYS = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}
"""Names of the moments in the state of torch's optimisers."""


def plan_states(
    params: Mapping[str, Tensor], num_moments: int, num_steps: int, limit: float
) -> tuple[tuple[int, ...], int]:
    """Choose the steps whose states are stored: about √T, or fewer within a limit of the disk.

    Args:
        params: Trained parameters by name.
        num_moments: Number of moments of the optimiser.
        num_steps: Number T of steps.
        limit: Largest number of bytes of all states.

    Returns:
        The steps, with 0 and T at least, and the bytes that their states take.

    Examples:
        >>> plan_states({"w": torch.zeros(1000)}, 2, 100, 1e5)
        ((0, 12, 25, 38, 50, 62, 75, 88, 100), 100000)
    """
    size = sum(tensor.nbytes for tensor in params.values())
    affordable = int((limit - size) // (size * (1 + num_moments)))
    count = max(1, min(math.ceil(math.sqrt(num_steps)), affordable))
    steps = choose_state_steps(num_steps, count)
    return steps, size + (len(steps) - 1) * size * (1 + num_moments)


def read_moments(
    params: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, spec: OptimizerSpec
) -> dict[str, Tensor]:
    """Return the moments of each parameter by number and name; zero where there are none yet."""
    keys = MOMENT_KEYS["sgd" if spec.kind == "sgd" else "adam"][: spec.num_moments]
    moments = {}
    for number, key in enumerate(keys):
        for name, tensor in params.items():
            moment = optimizer.state.get(tensor, {}).get(key)
            moments[f"moment {number}/{name}"] = (
                torch.zeros_like(tensor) if moment is None else moment
            )
    return {key: moment.detach() for key, moment in moments.items()}
