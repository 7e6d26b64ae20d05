"""Reverse sweep through a recorded training: unrolled differentiation for many queries at once."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.unrolled.batch_products import BatchCurvature, BatchProducts
from fastif.unrolled.check_record import check_record, check_replay
from fastif.unrolled.replay import Replay, ReplayedStep
from fastif.unrolled.training_record import TrainingRecord

SecondMoments = Literal["followed", "fixed"]


@dataclass(frozen=True)
class UnrolledSettings:
    """Settings of unrolled differentiation.

    Attributes:
        curvature: Second derivative of a batch's loss: "gauss_newton" in the products of all
            queries at once, or "hessian", exact, with a double backward pass for each query.
        second_moments: Whether the second moments of Adam are "followed" as functions of the
            gradients, which is exact, or held "fixed".
    """

    curvature: BatchCurvature = "gauss_newton"
    second_moments: SecondMoments = "followed"

    def __post_init__(self) -> None:
        for key, options in (
            ("curvature", ("gauss_newton", "hessian")),
            ("second_moments", ("followed", "fixed")),
        ):
            if getattr(self, key) not in options:
                raise InputError(
                    key, " or ".join(options), f"{getattr(self, key)}", "Choose one of the two."
                )


@dataclass(frozen=True, eq=False)
class SweepState:
    """State of a reverse sweep between two segments, from which it can be continued.

    Attributes:
        step: Number of training steps that remain.
        adjoints: Derivatives [q p] of the queries' measures by the parameters and by each moment
            after that step.
        weight_derivatives: Derivatives [q n] by the weights of the training rows, so far.
    """

    step: int
    adjoints: tuple[Float[Tensor, "q p"], ...]
    weight_derivatives: Float[Tensor, "q n"]


SegmentCallback = Callable[[SweepState], None]
"""Callback after each segment; the tensors are overwritten when it returns."""


def unrolled_removal_effects(
    record: TrainingRecord,
    objective: Objective,
    examples: ExamplesLike,
    query_gradients: Float[Tensor, "q p"],
    settings: UnrolledSettings | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    on_segment: SegmentCallback | None = None,
    resume_from: SweepState | None = None,
) -> Float[Tensor, "q n"]:
    """Differentiate through a training in reverse (Hara et al., 2019; Ilyas and Engstrom, 2025).

        removal_effect[z, i] = -dM_z(θ_T) / dw_i,    step t on 1/|B_t| Σ_{i ∈ B_t} w_i L_i

    at w = 1: the first-order change of the query's measure M if row i had weight 0 in each batch
    of this very training, with its seed and order. Positive = helpful, in nats for a loss.

    The adjoints of parameters and moments are rows [q p], so the training is gone through once for
    all queries. A segment between two stored states is repeated forward, and then reversed: the
    adjoint of each step's gradient is multiplied with the batch's curvature, and with the gradients
    of its examples, where their derivatives are collected. With the Hessian and followed second
    moments the result is the exact derivative.

    Memory: 3·q·p numbers, with Adam (m + 2)·q·p with m moments in the recursion, and 4·p numbers
    for each step of the longest segment; about √T steps if √T states are stored.

    Args:
        record: Record of the training, which minimised the objective's loss without dropout.
        objective: Model at the final parameters of the training; it is not changed.
        examples: The n training rows in the order of the record. A `PrefixCache` spares the frozen
            layers; its `batch_size` is the number of examples with gradients in memory at once.
        query_gradients: Gradients [q p] of the queries' measures at the final parameters, see
            `fastif.gradients.per_example.compute_measure_gradients`.
        settings: Curvature and treatment of the second moments.
        progress: Callback with the numbers of reversed steps and of all steps.
        on_segment: Callback with the state after each segment, to store it.
        resume_from: State from which to continue, with the same arguments otherwise.

    Returns:
        Removal effects of the training rows; 0 for a row in no batch.

    Raises:
        InputError: The record does not belong to the model, its weights or these rows, or a
            repeated segment does not end in its stored state.
    """
    settings = settings or UnrolledSettings()
    examples = try_table(objective, examples, "training set")
    check_record(record, objective, examples)
    sweep = _ReverseSweep(record, objective, examples, settings)
    state = sweep.start(query_gradients)
    if resume_from is not None:
        state = sweep.resume(resume_from, state)
    for start, stop in reversed(record.segments):
        if stop > state.step:
            continue
        state = sweep.reverse_segment(state, start, progress)
        if on_segment:
            on_segment(state)
    return state.weight_derivatives.neg()


class _ReverseSweep:
    """Reverse sweep on a copy of the objective, whose parameters are those of the present step."""

    def __init__(
        self,
        record: TrainingRecord,
        objective: Objective,
        examples: Examples,
        settings: UnrolledSettings,
    ) -> None:
        self.record, self.settings = record, settings
        self.objective = copy.copy(objective)
        self.replay = Replay(record, self.objective, examples)
        self.products = BatchProducts(self.objective, examples, settings.curvature)

    def start(self, query_gradients: Float[Tensor, "q p"]) -> SweepState:
        """Return the state at the end of the training."""
        size, like = self.objective.space.size, self.objective.like
        if query_gradients.dim() != 2 or query_gradients.shape[1] != size:
            raise InputError(
                "query_gradients",
                f"rows of {size} numbers, one for each query",
                f"shape {tuple(query_gradients.shape)}",
                "Compute them by fastif.gradients.per_example.compute_measure_gradients.",
            )
        num_moments = self.record.optimizer.num_moments
        if self.record.optimizer.kind != "sgd" and self.settings.second_moments == "fixed":
            num_moments = 1
        of_params = query_gradients.to(like, copy=True)
        zeros = (torch.zeros_like(of_params) for _ in range(num_moments))
        derivatives = like.new_zeros(len(of_params), self.record.count)
        return SweepState(self.record.num_steps, (of_params, *zeros), derivatives)

    def resume(self, stored: SweepState, initial: SweepState) -> SweepState:
        """Return a stored state, with its own copies of the tensors."""
        tensors = (*stored.adjoints, stored.weight_derivatives)
        expected = (*initial.adjoints, initial.weight_derivatives)
        shapes, like = [tuple(t.shape) for t in tensors], self.objective.like
        wanted = [tuple(t.shape) for t in expected]
        if stored.step not in self.record.state_steps or shapes != wanted:
            raise InputError(
                "resume_from",
                f"a state between two segments, with tensors of shapes {wanted}",
                f"step {stored.step} with {shapes}",
                "Start the sweep anew, or continue it with the arguments that it had.",
            )
        *adjoints, derivatives = (tensor.to(like, copy=True) for tensor in tensors)
        return SweepState(stored.step, tuple(adjoints), derivatives)

    def reverse_segment(
        self, state: SweepState, start: int, progress: Callable[[int, int], None] | None
    ) -> SweepState:
        """Return the state before the steps after `start`; the adjoints are overwritten."""
        of_gradient = torch.empty_like(state.adjoints[0])
        steps = self._repeat_segment(start, state.step)
        while steps:
            step = steps.pop()
            self._reverse_step(step, state, of_gradient)
            if progress:
                progress(self.record.num_steps - step.before.step, self.record.num_steps)
        return SweepState(start, state.adjoints, state.weight_derivatives)

    def _repeat_segment(self, start: int, stop: int) -> list[ReplayedStep]:
        """Repeat the steps between two stored states, and compare with the second."""
        first, last = self.replay.load_state(start), self.replay.load_state(stop)
        steps = list(self.replay.iterate(first, stop))
        check_replay(first, steps[-1].after, last)
        return steps

    def _reverse_step(
        self, step: ReplayedStep, state: SweepState, of_gradient: Float[Tensor, "q p"]
    ) -> None:
        before, ids = step.before, self.record.batches[step.before.step]
        rates = self.record.learning_rates[before.step]
        self.replay.steps.pull_back(
            before, step.gradient, rates, step.after, state.adjoints, of_gradient
        )
        self.objective.params = self.objective.space.unflatten(before.params)
        dots = self.products.accumulate(ids, step.outputs, of_gradient, state.adjoints[0])
        ids = ids.to(dots.device)
        state.weight_derivatives.index_add_(1, ids, dots)
