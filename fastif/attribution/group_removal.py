"""Group influence: effect on queries if a group of training examples is removed together."""

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
"""Largest number of factor rows of a group, which are held and solved together."""

WHERE = "removal of a group"


@dataclass(frozen=True, eq=False)
class GroupRemoval:
    """Predicted change of q queries, in nats, if a group of training examples is removed at once.

    Signs are those of `removal_effect`: positive = the loss rises, the group is helpful.

    Attributes:
        effect: Change of the queries' measure at the parameters after one Newton step on the
            objective without the group.
        linear: Inner product of the same step with the queries' gradients.
        first_order: Sum of the first-order removal effects of the group's examples.
        leverage: Largest eigenvalue of V_S A⁻¹ V_Sᵀ / n, V_S the factor rows of the group, from 0
            to below 1. Near 1 the group alone determines a direction, and the step is long.
        residual: Largest relative residual of the solves.
    """

    effect: Float[Tensor, " q"]
    linear: Float[Tensor, " q"]
    first_order: Float[Tensor, " q"]
    leverage: float
    residual: float


def remove_group(
    attributor: Attributor, group: Int[Tensor, " s"], queries: Examples, ids: Int[Tensor, " q"]
) -> GroupRemoval:
    """Second-order group influence: removal effect of a group S of training examples.

        Δθ = 1/n (A - V_Sᵀ V_S / n)⁻¹ Σ_{i∈S} ∇L(i),   A = H + λI

    by the Woodbury identity, with A⁻¹ of the factor rows V_S [s·c p] of the group from the
    attributor's solver. First-order sums ignore the group's share of the curvature (Koh et al.,
    2019; Basu et al., 2020). Removal takes the group's terms from the sum of losses; n, the L2
    penalty and λ stay.

    Args:
        attributor: Attributor of one model, with a Gauss-Newton matrix over its full training set.
        group: Positions [s] of the training examples to remove, each once.
        queries: Examples to explain.
        ids: Positions [q] of the queries.

    Returns:
        Effects on the q queries to second and to first order, with the group's leverage.

    Raises:
        InputError: The group is empty, too large, holds a position twice or out of range, or has
            gradients that are not finite; or the curvature is not a Gauss-Newton matrix over the
            full training set.

    Examples:
        >>> from fastif import Direct, GaussNewton, ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> model.weight.data[:] = 1.0
        >>> train = TensorExamples([[1.0], [2.0]], [[0.0], [0.0]])  # ∇L = 2, 8; ∇²L = 2, 8
        >>> objective = ModuleObjective(model, SquaredError())
        >>> operator = GaussNewton(objective, train).with_damping(1.0)  # A = 5 + 1
        >>> attributor = Attributor(objective, train, operator, Direct())
        >>> removal = remove_group(attributor, torch.tensor([1]), train, torch.tensor([0]))
        >>> removal.first_order  # 2 · 8 / 6 / 2
        tensor([1.3333], dtype=torch.float64)
        >>> effects = removal.linear, removal.effect  # Δθ = 8 / (6 - 8/2) / 2 = 2: 2 · 2, 3² - 1²
        >>> [round(float(effect), 4) for effect in effects]
        [4.0, 8.0]
    """
    train, operator = attributor.train, attributor.operator
    check_leverage(operator, train)
    _check_group(group, len(train))
    count, gradients = len(train), attributor.gradients
    gradient_sum = compute_loss_gradients(gradients, train, group).sum(0, keepdim=True)
    factor_rows = _collect_factor_rows(gradients, train, group)
    if not bool(torch.isfinite(torch.cat([gradient_sum, factor_rows])).all()):
        raise InputError(
            WHERE,
            "training rows with finite gradients",
            "NaN or infinity",
            "Leave rows without a finite gradient out of the group.",
        )
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
            f"distinct positions from 0 to {count - 1}, at least one and not all",
            f"{len(group)} positions, {len(group.unique())} of them distinct",
            "Give positions in the training set, each once.",
        )


def _collect_factor_rows(
    gradients: Gradients, train: Examples, group: Tensor
) -> Float[Tensor, "r p"]:
    """Factor rows of the group; the sums over them do not depend on their order."""
    collected: list[Tensor] = []
    for _, batch in train.batches(group):
        collected += [
            tile.gradients.clone() for tile in gradients.compute_sqrt_hessian_tiles(batch)
        ]
        if sum(map(len, collected)) > MAX_GROUP_FACTOR_ROWS:
            raise InputError(
                WHERE,
                f"at most {MAX_GROUP_FACTOR_ROWS:,} factor rows, training rows x (classes - 1)",
                f"more, with {len(group):,} training rows",
                "Take a smaller group, or measure its effect by retraining without it.",
            )
    return torch.cat(collected)


@torch.no_grad()
def _measure_change(
    attributor: Attributor, queries: Examples, ids: Tensor, step: Float[Tensor, " p"]
) -> Float[Tensor, " q"]:
    """Measure of the queries at the parameters after the step, minus its present value."""
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
