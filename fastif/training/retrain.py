"""Exact retraining: the minimum of the full training loss by L-BFGS."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch, Examples, all_ids
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.numerics.optimize import minimize_lbfgs

STEPS, TOLERANCE, MEMORY = 1000, 1e-10, 30
"""Largest number of L-BFGS iterations, gradient tolerance (maximum norm), and history size."""


def retrain_exact(
    objective: Objective,
    examples: Examples,
    penalty: float = 0.0,
    weights: Float[Tensor, " n"] | None = None,
    start: Params | None = None,
) -> Params:
    """Retrain to the minimum of the weighted training loss by L-BFGS.

        argmin over θ of 1/n Σ_i w_i L(z_i, θ) + ½ penalty ‖θ‖²

    Leave-one-out of row z is w_z = 0: n stays, as in the convention of removal effects, so the
    influence of z is the first derivative of the result. For a convex loss the minimum does not
    depend on the start; for a network it is a local minimum near it.

    Args:
        objective: Model with its loss.
        examples: Training set of n examples, read as one batch.
        penalty: L2 penalty of the attributed parameters.
        weights: Weights w [n] of the examples; 1 by default.
        start: Initial parameters; the objective's own by default.

    Returns:
        Parameters at the minimum, by name.

    Examples:
        >>> from torch import nn
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> points = TensorExamples(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]]))
        >>> line = ModuleObjective(nn.Linear(1, 1, bias=False), SquaredError())
        >>> retrain_exact(line, points)["weight"].round(decimals=4)
        tensor([[2.]])
    """
    batch = examples.take(all_ids(examples))
    share = 1 / len(examples) if weights is None else weights / len(examples)

    def loss(params: Params) -> Tensor:
        total = (share * objective.losses(params, batch)).sum()
        size = torch.stack([tensor.square().sum() for tensor in params.values()]).sum()
        return total + penalty / 2 * size

    return minimize_over_params(loss, start or objective.params)


def minimize_over_params(
    loss: Callable[[Params], Tensor], start: Params, steps: int = STEPS
) -> Params:
    """Minimise a smooth function of the parameters by L-BFGS from `start`."""
    params = {name: tensor.detach().clone().requires_grad_() for name, tensor in start.items()}
    minimize_lbfgs(
        lambda: loss(params),
        list(params.values()),
        max_iter=steps,
        max_eval=2 * steps,
        history_size=MEMORY,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
    )
    return {name: tensor.detach() for name, tensor in params.items()}


def compute_losses(objective: Objective, params: Params, batch: Batch) -> Float[Tensor, " b"]:
    """Loss [b] of each example under the given parameters."""
    with torch.no_grad():
        return objective.losses(params, batch)
