"""Training of a classifier: only attributed parameters move; frozen layers may be cached."""

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
"""Number of batches that are sampled together and sorted by length."""


@dataclass(frozen=True)
class TrainingConfig:
    """Hyper-parameters of Adam or AdamW with linear warm-up (a tenth of the steps) and decay.

    Attributes:
        epochs: Number of passes over the training set.
        learning_rate: Peak learning rate, a finite number > 0.
        weight_decay: Weight decay of all attributed parameters, including biases.
        batch_size: Number of examples in a training step; independent of the examples' own batch
            size.
        seed: Random seed of the order of examples.
        weight_decay_kind: "decoupled" (AdamW; Loshchilov and Hutter, 2019) shrinks the parameters
            separately from the gradient and is not part of the loss. "coupled" adds weight_decay/2
            ‖params‖² to the mean loss; set the same number as the objective's `penalty` for
            influence.

    Raises:
        InputError: The kind is neither.

    Examples:
        >>> TrainingConfig(epochs=3, weight_decay_kind="coupled").learning_rate
        0.0003
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

    def count_steps(self, size: int) -> int:
        """Return the number of training steps.

        Args:
            size: Number of training examples.

        Examples:
            >>> TrainingConfig(epochs=2, batch_size=32).count_steps(100)
            8
        """
        return self.epochs * -(-size // self.batch_size)


_OPTIMISERS = {"decoupled": torch.optim.AdamW, "coupled": torch.optim.Adam}

ProgressCallback = Callable[[int, int, float], None]
"""Callback with the step, the number of steps, and the batch's loss without weight decay."""

BatchCallback = Callable[[Int[Tensor, " b"], Float[Tensor, "b c"]], None]
"""Callback with the positions of a batch's examples and their outputs, before the update."""

CheckpointCallback = Callable[[float, Params], None]
"""Callback with the finished fraction of training, and a copy of the parameters."""


@dataclass(frozen=True, eq=False)
class FitStep:
    """Step of `fit`, after the update; the tensors change with the next step.

    Attributes:
        number: Number of steps done.
        ids: Positions of the batch's examples.
        learning_rate: Learning rate of the step.
        params: Parameters after the update.
        optimizer: Optimiser, with its state after the update.
    """

    number: int
    ids: Int[Tensor, " b"]
    learning_rate: float
    params: Params
    optimizer: torch.optim.Optimizer


StepCallback = Callable[[FitStep], None]
"""Callback after every update, such as the one that records a training."""


def fit(
    objective: Objective,
    examples: Examples,
    config: TrainingConfig,
    progress: ProgressCallback | None = None,
    *,
    on_batch: BatchCallback | None = None,
    on_checkpoint: CheckpointCallback | None = None,
    checkpoint_fractions: Collection[float] = (),
    on_step: StepCallback | None = None,
) -> Params:
    """Train the attributed parameters by Adam or AdamW, from their present values.

    The model stays in evaluation mode: without dropout the minimised loss is the loss that
    influence differentiates. The objective is not changed: assign the result to `objective.params`.

    Args:
        objective: Model with its loss and its attributed parameters.
        examples: Training set of n examples.
        config: Training hyper-parameters.
        progress: Callback after every step.
        on_batch: Callback on every batch before the update, such as `TrainingDynamics`.
        on_checkpoint: Callback on the checkpoints.
        checkpoint_fractions: Positions of checkpoints as fractions of training, from 0 to 1.
            Fractions that fall on one step all get the parameters after that step.
        on_step: Callback after every update, with the state of the optimiser.

    Returns:
        Trained parameters by name.

    Raises:
        InputError: The learning rate is not a finite number > 0, one step of decoupled weight decay
            would change the sign of parameters, or the loss became NaN or infinite.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> examples = TensorExamples([[1.0], [2.0]], [[2.0], [4.0]])
        >>> objective = ModuleObjective(torch.nn.Linear(1, 1, bias=False), SquaredError())
        >>> config = TrainingConfig(epochs=300, learning_rate=0.1, weight_decay=0.0)
        >>> objective.params = fit(objective, examples, config)
        >>> objective.params["weight"].round(decimals=1)
        tensor([[2.]])
    """
    check_config(config)
    params = {name: tensor.clone().requires_grad_() for name, tensor in objective.params.items()}
    steps = config.count_steps(len(examples))
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
        if on_step:
            on_step(FitStep(step, ids, optimiser.param_groups[0]["lr"], params, optimiser))
        schedule.step()
        if progress:
            progress(step, steps, loss.item())
        for fraction, checkpoint_step in checkpoint_steps.items():
            if on_checkpoint and step == checkpoint_step:
                on_checkpoint(fraction, {name: p.detach().clone() for name, p in params.items()})
    return {name: tensor.detach() for name, tensor in params.items()}


def check_config(config: TrainingConfig) -> None:
    """Refuse hyper-parameters with which no training succeeds.

    Raises:
        InputError: The learning rate is not a finite number > 0, or one step of decoupled weight
            decay would change the sign of parameters.
    """
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
            f"less than {1 / config.learning_rate:g}, where a step changes parameters' signs",
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
    """Return the optimiser of the parameters, and its learning-rate schedule."""
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
    """Yield shuffled batches of similar lengths, so that padding is small."""
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
    """Model outputs and query measures of the examples, without gradients.

    Args:
        objective: Model with its loss and the measure of queries.
        examples: Examples to predict.
        batch_size: Number of examples in a forward pass, independent of the examples' own.
        ids: Positions of m examples; all by default.

    Returns:
        Outputs [m c] and measures [m] in the order of `ids`. The measure is the loss unless the
            objective has another one, such as a loss without label smoothing.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> model.weight.data[:] = 1.0
        >>> objective = ModuleObjective(model, SquaredError())
        >>> predict(objective, TensorExamples([[1.0], [2.0]], [[0.0], [0.0]]))
        (tensor([[1.],
                [2.]]), tensor([1., 4.]))
    """
    places, outputs, measures = [], [], []
    for where, batch in examples.batches(ids, batch_size):
        batch_outputs = objective.outputs(objective.params, batch)
        places.append(where)
        outputs.append(batch_outputs)
        measures.append(objective.query_measure(batch_outputs, batch["labels"]))
    order = torch.cat(places).argsort()
    return torch.cat(outputs)[order], torch.cat(measures)[order]
