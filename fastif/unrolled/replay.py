"""Replay of recorded training steps, with the weights of examples as they were or others."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.unrolled.check_record import load_state
from fastif.unrolled.optimizer_step import OptimizerSteps
from fastif.unrolled.training_record import TrainingRecord, TrainingState


@dataclass(frozen=True, eq=False)
class ReplayedStep:
    """Step of a training that was computed again.

    Attributes:
        before: State before the step.
        after: State after the step.
        gradient: Gradient [p] of the batch's mean loss, without clipping and decay.
        outputs: Outputs [b c] of the batch's examples before the step.
    """

    before: TrainingState
    after: TrainingState
    gradient: Float[Tensor, " p"]
    outputs: Float[Tensor, "b c"]


class Replay:
    """Replay of a recorded training: the gradients of its batches, in its order.

    Args:
        record: Record of the training.
        objective: Model of the training; its parameters are not used.
        examples: Training rows, with cached hidden states or without.
        weights: Weights [n] of the examples' losses; 1 by default. The divisor of a batch stays its
            number of examples.
    """

    def __init__(
        self,
        record: TrainingRecord,
        objective: Objective,
        examples: Examples,
        weights: Float[Tensor, " n"] | None = None,
    ) -> None:
        self.record, self.objective, self.examples = record, objective, examples
        self.steps = OptimizerSteps(record.optimizer, record.groups, objective.space)
        self._weights, self._unused = weights, None

    def load_state(self, step: int) -> TrainingState:
        """Return a stored state, with the type and device of the objective's parameters."""
        return load_state(self.record, step, self.objective)

    def iterate(self, state: TrainingState, stop: int) -> Iterator[ReplayedStep]:
        """Yield the steps from a state up to a number of steps."""
        while state.step < stop:
            gradient, outputs = self._differentiate(state)
            rates = self.record.learning_rates[state.step]
            after = self.steps.advance(state, gradient, rates)
            self._restore_unused(state, after)
            yield ReplayedStep(state, after, gradient, outputs)
            state = after

    def _differentiate(self, state: TrainingState) -> tuple[Tensor, Tensor]:
        """Return the gradient of the batch's mean loss, and the outputs."""
        objective, ids = self.objective, self.record.batches[state.step]
        batch = self.examples.take(ids)
        params = {
            name: tensor.requires_grad_()
            for name, tensor in objective.space.unflatten(state.params.detach()).items()
        }
        with torch.enable_grad():
            outputs = objective.outputs(params, batch)
            losses = objective.loss(outputs, batch["labels"])
            if self._weights is not None:
                losses = losses * self._weights[ids].to(losses)
            grads = torch.autograd.grad(losses.mean(), tuple(params.values()), allow_unused=True)
        self._check_unused({n for n, g in zip(params, grads, strict=True) if g is None})
        pairs = zip(params.values(), grads, strict=True)
        parts = [(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in pairs]
        return torch.cat(parts), outputs.detach()

    def _check_unused(self, names: set[str]) -> None:
        """Refuse parameters that some batches use and others do not."""
        if self._unused is None:
            self._unused = names
        elif self._unused != names:
            raise InputError(
                "model",
                "a loss that depends on the same parameters in every step",
                f"a step in which only some batches use {min(self._unused ^ names)}",
                "Use another method: unrolled differentiation does not cover this model.",
            )

    def _restore_unused(self, before: TrainingState, after: TrainingState) -> None:
        """Keep parameters without a gradient as they are: torch's optimisers skip them."""
        for span in self.objective.space.select_slices(self._unused or ()):
            after.params[span] = before.params[span]
