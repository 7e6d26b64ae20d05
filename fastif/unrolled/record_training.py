"""Training with its record in memory, for unrolled differentiation."""

import math

import torch

from fastif.data.examples import Examples
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.training.fit import FitStep, ProgressCallback, TrainingConfig, fit
from fastif.unrolled.optimizer_spec import OptimizerKind, OptimizerSpec, ParameterGroup
from fastif.unrolled.training_record import TrainingRecord, TrainingState, digest_weights

OPTIMIZERS: dict[str, OptimizerKind] = {"decoupled": "adamw", "coupled": "adam"}
"""Kind of the optimiser that `fit` uses for each kind of weight decay."""


def choose_state_steps(num_steps: int, num_states: int | None = None) -> tuple[int, ...]:
    """Choose steps after which to store the state (checkpointing; Griewank, 1992): 0, T, between.

    Args:
        num_steps: Number T of steps.
        num_states: Number of segments; √T by default, where states in memory are fewest.

    Examples:
        >>> choose_state_steps(9)
        (0, 3, 6, 9)
    """
    count = max(1, num_states or math.ceil(math.sqrt(num_steps)))
    return tuple(sorted({round(part * num_steps / count) for part in range(count + 1)}))


def record_training(
    objective: Objective,
    examples: Examples,
    config: TrainingConfig,
    progress: ProgressCallback | None = None,
    num_states: int | None = None,
) -> tuple[Params, TrainingRecord]:
    """Train as `fastif.fit` does, with the same result, and keep √T states of AdamW in memory.

    Args:
        objective: Model with its loss and its attributed parameters.
        examples: Training set of n examples.
        config: Training hyper-parameters.
        progress: Callback after every step.
        num_states: Number of segments between states; √T by default.

    Returns:
        Trained parameters by name, and the record.

    Examples:
        >>> from fastif import CrossEntropy, ModuleObjective, TensorExamples
        >>> examples = TensorExamples([[1.0], [-1.0]], [0, 1])
        >>> objective = ModuleObjective(torch.nn.Linear(1, 2), CrossEntropy())
        >>> params, record = record_training(objective, examples, TrainingConfig(epochs=4))
        >>> record.num_steps, record.state_steps
        (4, (0, 2, 4))
    """
    space, steps = objective.space, config.count_steps(len(examples))
    zeros = torch.zeros(space.size).to(objective.like)
    states = {0: TrainingState(0, space.flatten(objective.params).clone(), (zeros, zeros))}
    batches, rates = [], []
    stored = set(choose_state_steps(steps, num_states))

    def keep(step: FitStep) -> None:
        batches.append(step.ids)
        rates.append(step.learning_rate)
        if step.number in stored:
            states[step.number] = read_adam_state(objective, step)

    params = fit(objective, examples, config, progress, on_step=keep)
    record = TrainingRecord(
        optimizer=OptimizerSpec(OPTIMIZERS[config.weight_decay_kind]),
        groups=(ParameterGroup(space.names, config.weight_decay),),
        learning_rates=torch.tensor(rates, dtype=torch.float64)[:, None],
        batches=batches,
        count=len(examples),
        state_steps=tuple(sorted(states)),
        load_state=states.__getitem__,
        weights_digest=digest_weights(space.flatten(params)),
    )
    return params, record


def read_adam_state(objective: Objective, step: FitStep) -> TrainingState:
    """Return the state after a step of `fit`: copies of parameters and both moments."""
    space = objective.space
    moments = {
        key: {
            name: step.optimizer.state[tensor].get(key, torch.zeros_like(tensor))
            for name, tensor in step.params.items()
        }
        for key in ("exp_avg", "exp_avg_sq")
    }
    vectors = (space.flatten(values) for values in moments.values())
    return TrainingState(step.number, space.flatten(step.params).detach(), tuple(vectors))
