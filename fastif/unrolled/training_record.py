"""Record of a training: its steps, and its state at some of them, for unrolled differentiation."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float, Int
from torch import Tensor

from fastif.errors import InputError
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup


@dataclass(frozen=True, eq=False)
class TrainingState:
    """State of a training after some steps; vectors have the order of `objective.space`.

    Attributes:
        step: Number of steps done.
        params: Parameters [p].
        moments: First and second moment [p] each of Adam and AdamW, without bias correction;
            momentum buffer [p] of SGD with momentum; none otherwise. Zeros before the first step.
    """

    step: int
    params: Float[Tensor, " p"]
    moments: tuple[Float[Tensor, " p"], ...]


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """Record of a training of T steps: what is needed to repeat it, and to differentiate it.

    Step t minimised 1/|B_t| Σ_{i ∈ B_t} L_i, with the model in evaluation mode (no dropout).

    Attributes:
        optimizer: Optimiser and its constants.
        groups: The g groups of parameters; together all parameters that were trained.
        learning_rates: Learning rate [T g] of each step and group.
        batches: Positions B_t of the training rows of each of the T steps, in order.
        count: Number n of training rows.
        state_steps: Numbers of steps after which a state is stored, ascending, with 0 and T. About
            √T of them at equal distances need the least memory.
        load_state: Function that returns the state after such a number of steps.
        weights_digest: `digest_weights` of the final parameters.

    Raises:
        InputError: Sizes contradict each other, or the stored states do not span the training.
    """

    optimizer: OptimizerSpec
    groups: tuple[ParameterGroup, ...]
    learning_rates: Float[Tensor, "T g"]
    batches: Sequence[Int[Tensor, " b"]]
    count: int
    state_steps: tuple[int, ...]
    load_state: Callable[[int], TrainingState]
    weights_digest: str

    def __post_init__(self) -> None:
        shape = (self.num_steps, len(self.groups))
        if tuple(self.learning_rates.shape) != shape:
            raise _refuse(
                "learning_rates",
                f"shape {shape}, a number for each step and group",
                f"shape {tuple(self.learning_rates.shape)}",
            )
        steps = self.state_steps
        ascending = all(first < second for first, second in pairwise(steps))
        if not (steps and ascending and steps[0] == 0 and steps[-1] == self.num_steps):
            raise _refuse(
                "state_steps",
                f"ascending numbers from 0 to {self.num_steps}, the number of steps",
                ", ".join(map(str, steps)) or "none",
            )

    @property
    def num_steps(self) -> int:
        """Number T of steps."""
        return len(self.batches)

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """Pairs of neighbouring stored states, in order: numbers of steps."""
        return tuple(pairwise(self.state_steps))


def digest_weights(params: Float[Tensor, " p"]) -> str:
    """Return the sha256 of parameters in the order of `objective.space`, in their own precision.

    Examples:
        >>> import torch
        >>> digest_weights(torch.zeros(2))[:8]
        'af5570f5'
    """
    return hashlib.sha256(params.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _refuse(key: str, expected: str, got: str) -> InputError:
    return InputError(f"training record: {key}", expected, got, "Record the training again.")
