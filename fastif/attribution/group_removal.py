"""What it does to queries if a group of training rows is removed together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.attribution.leverage import check_leverage
from fastif.data.examples import Batch, Examples
from fastif.errors import InputError
from fastif.gradients.per_example import (
    Gradients,
    compute_loss_gradients,
    compute_measure_gradients,
)
from fastif.models.parameters import Params

MAX_GROUP_FACTOR_ROWS = 4000
"""Root rows of a group, which are held and solved for together."""

WHERE = "removal of a group"


@dataclass(frozen=True, eq=False)
class GroupRemoval:
    """The change of what is asked of q queries, in nats, if a group of rows is removed at once.

    Signs are those of `removal_effect`: positive = the loss rises.

    Attributes:
        effect: of one Newton step on the objective without the group, with the queries evaluated at
            the parameters that it leads to.
        linear: the same step times the queries' gradients.
        first_order: the sum of the rows' removal effects to first order.
        leverage: largest eigenvalue of R_S A⁻¹ R_Sᵀ / n, R_S the root rows of the group: 0 to below
            1. Near 1 the group alone holds up a direction, and the step is a long one.
        residual: the largest of the solves.
    """

    effect: Float[Tensor, " q"]
    linear: Float[Tensor, " q"]
    first_order: Float[Tensor, " q"]
    leverage: float
    residual: float


def remove_group(
    attributor: Attributor, group: Int[Tensor, " s"], queries: Examples, ids: Int[Tensor, " q"]
) -> GroupRemoval:
    """Removal effect of a group S, to second order in what the group has of the curvature.

        Δθ = 1/n (A - R_Sᵀ R_S / n)⁻¹ Σ_{i∈S} ∇L(i),   A = H + λI

    by Woodbury, with A⁻¹ of the group's root rows R_S [s·c p] from the attributor's solver (Koh and
    others, 2019, and Basu and others, 2020, on what first-order effects of groups leave out). The
    sum of losses loses the group's terms; n, the penalty and λ stay.

    Args:
        attributor: of one model, with a Gauss-Newton matrix over all its training rows.
        group: positions of the training rows, each once.
        queries: what is asked about.
        ids: positions of the queries.

    Raises:
        InputError: no group of training rows, too large a one, or one without finite gradients;
            another curvature.
    """
    train, operator = attributor.train, attributor.operator
    check_leverage(operator, train)
    _check_group(group, len(train))
    count, gradients = len(train), attributor.gradients
    gradient_sum = compute_loss_gradients(gradients, train, group).sum(0, keepdim=True)
    factor_rows = _collect_factor_rows(gradients, train, group)
    if not bool(torch.isfinite(torch.cat([gradient_sum, factor_rows])).all()):
        raise InputError(WHERE, "rows of finite gradients", "NaN or infinity", "Leave them out.")
    solution = attributor.apply_inverse(torch.cat([gradient_sum, factor_rows]))
    gradient_solution, factor_solution = solution.value[:1].double(), solution.value[1:].double()
    gram = factor_solution @ factor_rows.double().T / count
    values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
    coefficients = (factor_rows.double() @ gradient_solution[0]) @ vectors / (1 - values)
    step = (gradient_solution[0] + (coefficients @ vectors.T) @ factor_solution / count) / count
    query_gradients = compute_measure_gradients(gradients, queries, ids).double()
    return GroupRemoval(
        _measure_change(attributor, queries, ids, step),
        query_gradients @ step,
        query_gradients @ gradient_solution[0] / count,
        float(values[-1]),
        float(solution.residual.max()),
    )


def _check_group(group: Tensor, count: int) -> None:
    in_range = bool(((group >= 0) & (group < count)).all())
    if not len(group) or not in_range or len(group.unique()) < len(group) or len(group) == count:
        raise InputError(
            WHERE,
            f"some of the {count} training rows, each once, and not all",
            f"{len(group)} positions, {len(group.unique())} of them different",
            "Give positions in the training set.",
        )


def _collect_factor_rows(
    gradients: Gradients, train: Examples, group: Tensor
) -> Float[Tensor, "r p"]:
    """The root rows of the group; their order does not matter."""
    collected: list[Tensor] = []
    for _, batch in train.batches(group):
        collected += [
            tile.gradients.clone() for tile in gradients.compute_sqrt_hessian_tiles(batch)
        ]
        if sum(map(len, collected)) > MAX_GROUP_FACTOR_ROWS:
            raise InputError(
                WHERE,
                f"at most {MAX_GROUP_FACTOR_ROWS:,} root rows, training rows x (classes - 1)",
                f"more, with {len(group):,} training rows",
                "Train again without so large a group.",
            )
    return torch.cat(collected)


@torch.no_grad()
def _measure_change(
    attributor: Attributor, queries: Examples, ids: Tensor, step: Float[Tensor, " p"]
) -> Float[Tensor, " q"]:
    """What is asked of the queries at the parameters after the step, minus what it is now."""
    objective = attributor.objective
    step_by_name = objective.space.unflatten(step.to(objective.like))
    stepped_params = {name: value + step_by_name[name] for name, value in objective.params.items()}

    def measure(params: Params, batch: Batch) -> Tensor:
        return objective.query_measure(objective.outputs(params, batch), batch["labels"]).double()

    changes = torch.zeros(len(ids), dtype=torch.float64)
    for positions, batch in queries.batches(ids):
        change = measure(stepped_params, batch) - measure(objective.params, batch)
        changes[positions] = change.cpu()
    return changes
