"""Training again in earnest: the minimum of the whole table's loss, to the last digits."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch, Examples, all_ids
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.numerics.optimize import minimize_lbfgs

STEPS, TOLERANCE, MEMORY = 1000, 1e-10, 30
"""L-BFGS iterations at most, the largest entry of the gradient to stop at, and pairs remembered."""


def retrain_exact(
    objective: Objective,
    examples: Examples,
    penalty: float = 0.0,
    weights: Float[Tensor, " n"] | None = None,
    start: Params | None = None,
) -> Params:
    """Argmin over θ of 1/n Σ_i w_i L(z_i, θ) + ½ penalty ‖θ‖², from `start`.

    Leaving row z out is w_z = 0: n stays, as in the convention of removal effects, so that the
    influence of z is the first derivative of what this returns. Of a convex loss the minimum does
    not depend on where it starts; of a network it is the one that lies nearest downhill.

    Args:
        objective: the model and its loss; its own parameters are the start if none is given.
        examples: the table, taken as one batch.
        penalty: L2, of the attributed parameters.
        weights: of the rows; 1 if left out.
        start: parameters to begin with.

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
    """The parameters at the minimum of a smooth function, by L-BFGS from `start`."""
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
    """The loss of each example under other parameters."""
    with torch.no_grad():
        return objective.losses(params, batch)
