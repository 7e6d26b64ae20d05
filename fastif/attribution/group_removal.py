"""What it does to queries if a group of training rows is removed together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.attribution.leverage import check_leverage
from fastif.data.examples import Batch, Examples, batches
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, gradient_rows, measure_rows
from fastif.models.parameters import Params

MOST_ROWS = 4000
"""Root rows of a group, which are held and solved for together."""

WHERE = "removal of a group"


@dataclass(frozen=True, eq=False)
class Removal:
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
) -> Removal:
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
    _check(group, len(train))
    size, count = attributor.batch_size, len(train)
    pull = gradient_rows(attributor.gradients, train, group, size).sum(0, keepdim=True)
    roots = _roots(attributor.gradients, train, group, size)
    if not bool(torch.isfinite(torch.cat([pull, roots])).all()):
        raise InputError(WHERE, "rows of finite gradients", "NaN or infinity", "Leave them out.")
    solution = attributor.solved(torch.cat([pull, roots]))
    along, across = solution.value[:1].double(), solution.value[1:].double()
    met = across @ roots.double().T / count
    values, vectors = torch.linalg.eigh((met + met.T) / 2)
    held = (roots.double() @ along[0]) @ vectors / (1 - values)
    step = (along[0] + (held @ vectors.T) @ across / count) / count
    asked = measure_rows(attributor.gradients, queries, ids, size).double()
    return Removal(
        _moved(attributor, queries, ids, step),
        asked @ step,
        asked @ along[0] / count,
        float(values[-1]),
        float(solution.residual.max()),
    )


def _check(group: Tensor, count: int) -> None:
    inside = bool(((group >= 0) & (group < count)).all())
    if not len(group) or not inside or len(group.unique()) < len(group) or len(group) == count:
        raise InputError(
            WHERE,
            f"some of the {count} training rows, each once, and not all",
            f"{len(group)} positions, {len(group.unique())} of them different",
            "Give positions in the training set.",
        )


def _roots(gradients: Gradients, train: Examples, group: Tensor, size: int) -> Float[Tensor, "r p"]:
    """The root rows of the group; their order does not matter."""
    found: list[Tensor] = []
    for _, batch in batches(train, group, size):
        found += [tile.rows.clone() for tile in gradients.of_roots(batch)]
        if sum(map(len, found)) > MOST_ROWS:
            raise InputError(
                WHERE,
                f"at most {MOST_ROWS:,} root rows, training rows x (classes - 1)",
                f"more, with {len(group):,} training rows",
                "Train again without so large a group.",
            )
    return torch.cat(found)


@torch.no_grad()
def _moved(
    attributor: Attributor, queries: Examples, ids: Tensor, step: Float[Tensor, " p"]
) -> Float[Tensor, " q"]:
    """What is asked of the queries at the parameters after the step, minus what it is now."""
    objective = attributor.objective
    parts = objective.space.unflatten(step.to(objective.like))
    after = {name: value + parts[name] for name, value in objective.params.items()}

    def measured(params: Params, batch: Batch) -> Tensor:
        return objective.asked(objective.outputs(params, batch), batch["labels"]).double()

    found = torch.zeros(len(ids), dtype=torch.float64)
    for places, batch in batches(queries, ids, attributor.batch_size):
        change = measured(after, batch) - measured(objective.params, batch)
        found[places] = change.cpu()
    return found
