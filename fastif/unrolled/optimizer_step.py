"""Steps of a recorded optimiser on all parameters: forward, and reverse for many queries."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.errors import InputError
from fastif.models.parameters import ParamSpace
from fastif.unrolled.adam_step import AdamStep
from fastif.unrolled.gradient_clipping import clip_gradient, pull_back_clipping
from fastif.unrolled.optimizer_spec import OptimizerSpec, ParameterGroup
from fastif.unrolled.sgd_step import SgdStep
from fastif.unrolled.training_record import TrainingState

STEPS = {"sgd": SgdStep, "adam": AdamStep, "adamw": AdamStep}

BLOCK_NUMBERS = 2**18
"""Numbers of an adjoint that are handled at once, so that they stay in the processor's cache."""


class OptimizerSteps:
    """Steps of an optimiser on the vector of all parameters, group by group.

    Args:
        optimizer: Optimiser and its constants.
        groups: Groups of parameters.
        space: Order and shapes of the parameters in a vector.

    Raises:
        InputError: The groups do not hold each parameter of the space once, and no other.
    """

    def __init__(
        self, optimizer: OptimizerSpec, groups: tuple[ParameterGroup, ...], space: ParamSpace
    ) -> None:
        check_groups(groups, space)
        self.optimizer, self.groups = optimizer, groups
        group_of = {name: index for index, group in enumerate(groups) for name in group.names}
        self._runs: list[tuple[int, int, int]] = []  # start, stop, group
        for name, where in zip(space.names, space.slices, strict=True):
            start, group = where.start, group_of[name]
            if self._runs and self._runs[-1][2] == group:
                start = self._runs.pop()[0]
            self._runs.append((start, where.stop, group))

    def advance(
        self,
        state: TrainingState,
        gradient: Float[Tensor, " p"],
        learning_rates: Float[Tensor, " g"],
    ) -> TrainingState:
        """Return the state after one more step.

        Args:
            state: State before the step.
            gradient: Gradient of the batch's mean loss, without clipping and decay.
            learning_rates: Learning rate of each group.
        """
        clipped, _ = clip_gradient(gradient, self.optimizer.max_grad_norm)
        params = torch.empty_like(state.params)
        moments = tuple(torch.empty_like(moment) for moment in state.moments)
        for span, step in self._iterate_steps(state.step + 1, learning_rates, len(params)):
            before = tuple(moment[span] for moment in state.moments)
            params[span], after = step.advance(state.params[span], before, clipped[span])
            for moment, values in zip(moments, after, strict=True):
                moment[span] = values
        return TrainingState(state.step + 1, params, moments)

    def pull_back(
        self,
        state: TrainingState,
        gradient: Float[Tensor, " p"],
        learning_rates: Float[Tensor, " g"],
        next_state: TrainingState,
        adjoints: tuple[Float[Tensor, "q p"], ...],
        gradient_adjoint: Float[Tensor, "q p"],
    ) -> None:
        """Turn adjoints of the next state into those of the state at a fixed gradient, in place.

        The part that reaches the parameters through the gradient is the caller's:
        adjoints[0] += gradient_adjoint @ Hessian of the batch.

        Args:
            state: State before the step.
            gradient: Gradient of the batch's mean loss, without clipping and decay.
            learning_rates: Learning rate of each group.
            next_state: State after the step.
            adjoints: Adjoints of parameters and moments, one query in each row; with one moment
                less than the state, the second moment of Adam counts as a constant.
            gradient_adjoint: Adjoint of the batch's gradient, overwritten.
        """
        clipped, factor = clip_gradient(gradient, self.optimizer.max_grad_norm)
        width = max(1, BLOCK_NUMBERS // max(1, len(gradient_adjoint)))
        for span, step in self._iterate_steps(next_state.step, learning_rates, width):
            step.pull_back(
                state.params[span],
                clipped[span],
                tuple(moment[span] for moment in next_state.moments),
                tuple(adjoint[:, span] for adjoint in adjoints),
                gradient_adjoint[:, span],
            )
        pull_back_clipping(gradient, factor, gradient_adjoint)

    def _iterate_steps(
        self, number: int, learning_rates: Float[Tensor, " g"], width: int
    ) -> Iterator[tuple[slice, AdamStep | SgdStep]]:
        """Yield blocks of neighbouring coordinates with their step."""
        steps = [
            STEPS[self.optimizer.kind](self.optimizer, number, float(rate), group.weight_decay)
            for rate, group in zip(learning_rates, self.groups, strict=True)
        ]
        for start, stop, group in self._runs:
            for first in range(start, stop, width):
                yield slice(first, min(first + width, stop)), steps[group]


def check_groups(groups: tuple[ParameterGroup, ...], space: ParamSpace) -> None:
    """Refuse groups that do not hold each attributed parameter once, and no other.

    Raises:
        InputError: With the name of the first such parameter.
    """
    names = [name for group in groups for name in group.names]
    for name in sorted(set(names) ^ set(space.names)) or [n for n in names if names.count(n) > 1]:
        kinds = ("trained but not attributed", "attributed but not trained")
        got = kinds[name in space.names] if names.count(name) < 2 else "in two groups"
        raise InputError(
            "training record: groups",
            f"the {len(space.names)} attributed parameters of the model, each in one group",
            f"{name} {got}",
            "Attribute all parameters that were trained, and no others.",
        )
