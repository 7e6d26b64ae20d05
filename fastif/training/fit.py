"""Fitting a classifier: only the chosen parameters move, the frozen part is computed once."""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.data.examples import FORWARD_BATCH_SIZE, Examples
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.models.parameters import Params

POOLED_BATCHES = 16
"""Batches that are drawn together and sorted by length."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to fit: Adam, warm-up over a tenth, then linear decay.

    Attributes:
        batch_size: examples of a step, part of what is trained; not the examples' own.
        weight_decay: of all parameters that are fitted, biases too.
        weight_decay_kind: "decoupled" shrinks them beside the gradient (AdamW; Loshchilov and
            Hutter, 2019) and belongs to no loss. "coupled" adds weight_decay/2 ‖params‖² to the
            mean loss: the same number is the objective's `penalty` when influence is asked.

    Raises:
        InputError: the kind is neither.
    """

    epochs: int = 5
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    batch_size: int = 32
    seed: int = 0
    weight_decay_kind: str = "decoupled"

    def __post_init__(self) -> None:
        if self.weight_decay_kind not in _OPTIMISERS:
            raise InputError(
                "weight_decay_kind",
                " or ".join(_OPTIMISERS),
                f"{self.weight_decay_kind}",
                "AdamW is decoupled; Adam and SGD with weight_decay are coupled.",
            )


_OPTIMISERS = {"decoupled": torch.optim.AdamW, "coupled": torch.optim.Adam}

ProgressCallback = Callable[[int, int, float], None]
"""Told the step, the number of steps and the loss of the step's batch, without weight decay."""

BatchCallback = Callable[[Int[Tensor, " b"], Float[Tensor, "b c"]], None]
"""Told the positions of a batch's rows and their outputs, before the step that they lead to."""

CheckpointCallback = Callable[[float, Params], None]
"""Told a part of training that has passed, and a copy of the parameters then."""


def fit(
    objective: Objective,
    examples: Examples,
    config: TrainingConfig,
    progress: ProgressCallback | None = None,
    *,
    on_batch: BatchCallback | None = None,
    on_checkpoint: CheckpointCallback | None = None,
    checkpoint_fractions: Collection[float] = (),
) -> Params:
    """The objective's parameters after training, starting from their present values.

    The model stays in evaluation mode: without dropout the loss that is minimised is the loss that
    influence differentiates.

    Args:
        objective: what is fitted.
        examples: the training set.
        config: how.
        progress: is told of every step.
        on_batch: is told of every batch, such as `TrainingDynamics`.
        on_checkpoint: is told of the checkpoints.
        checkpoint_fractions: where these lie, as parts of training between 0 and 1. Parts that fall
            on the same step are all kept, each with the parameters after that step.

    Raises:
        InputError: the learning rate is not a positive number, the weight decay turns parameters
            over, or the loss became NaN or infinite.
    """
    _check_config(config)
    params = {name: tensor.clone().requires_grad_() for name, tensor in objective.params.items()}
    steps = config.epochs * -(-len(examples) // config.batch_size)
    optimiser, schedule = _make_optimiser(params, config, steps)
    checkpoint_steps = {
        fraction: max(1, round(fraction * steps)) for fraction in checkpoint_fractions
    }
    for step, ids in enumerate(_iterate_batches(examples.lengths, config), start=1):
        batch = examples.take(ids)
        outputs = objective.outputs(params, batch)
        loss = objective.loss(outputs, batch["labels"]).mean()
        if on_batch:
            on_batch(ids, outputs.detach())
        _check_finite(loss, step, config)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress:
            progress(step, steps, loss.item())
        for fraction, checkpoint_step in checkpoint_steps.items():
            if on_checkpoint and step == checkpoint_step:
                on_checkpoint(fraction, {name: p.detach().clone() for name, p in params.items()})
    return {name: tensor.detach() for name, tensor in params.items()}


def _check_config(config: TrainingConfig) -> None:
    if not 0 < config.learning_rate < math.inf:
        raise InputError(
            "[training] learning_rate",
            "a finite number > 0",
            f"{config.learning_rate}",
            f"Try learning_rate = {TrainingConfig.learning_rate:g}.",
        )
    shrinkage = config.learning_rate * config.weight_decay
    if config.weight_decay_kind == "decoupled" and shrinkage >= 1 < config.weight_decay:
        raise InputError(
            "[training] weight_decay",
            f"less than {1 / config.learning_rate:g}, at which one step takes parameters beyond 0",
            f"{config.weight_decay:g}",
            f"Try weight_decay = {TrainingConfig.weight_decay:g}.",
        )


def _check_finite(loss: Tensor, step: int, config: TrainingConfig) -> None:
    if not torch.isfinite(loss):
        raise InputError(
            "[training] learning_rate",
            "a loss that stays finite",
            f"{loss.item()} at step {step}",
            f"Try learning_rate = {config.learning_rate / 10:g}.",
        )


def _make_optimiser(
    params: Params, config: TrainingConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """The optimiser of these parameters, and the schedule of its learning rate."""
    optimiser = _OPTIMISERS[config.weight_decay_kind](
        params.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return optimiser, torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _learning_rate_factor(step, steps)
    )


def _learning_rate_factor(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / (steps - warm + 1))


def _iterate_batches(
    lengths: Int[Tensor, " n"], config: TrainingConfig
) -> Iterator[Int[Tensor, " b"]]:
    """Shuffled batches, of like length within every few batches so that padding is small."""
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.epochs):
        shuffled = torch.randperm(len(lengths), generator=generator)
        shuffled_batches = [
            batch
            for pool in shuffled.split(POOLED_BATCHES * config.batch_size)
            for batch in pool[lengths[pool].argsort(stable=True)].split(config.batch_size)
        ]
        for place in torch.randperm(len(shuffled_batches), generator=generator).tolist():
            yield shuffled_batches[place]


@torch.no_grad()
def predict(
    objective: Objective,
    examples: Examples,
    batch_size: int = FORWARD_BATCH_SIZE,
    ids: Int[Tensor, " m"] | None = None,
) -> tuple[Float[Tensor, "m c"], Float[Tensor, " m"]]:
    """Outputs, and what is asked of a query, of all examples or in the order of `ids`.

    That is each example's loss, without smoothing or weights where the objective's measure is.
    `batch_size` is that of a forward pass, which holds no gradients, and not the examples' own.
    """
    places, outputs, measures = [], [], []
    for where, batch in examples.batches(ids, batch_size):
        batch_outputs = objective.outputs(objective.params, batch)
        places.append(where)
        outputs.append(batch_outputs)
        measures.append(objective.query_measure(batch_outputs, batch["labels"]))
    order = torch.cat(places).argsort()
    return torch.cat(outputs)[order], torch.cat(measures)[order]
