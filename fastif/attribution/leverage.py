"""The leverage of a training row: its effect by one Newton step once its own curvature is gone."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import Damped, InRoots, Rooted
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.hooks import MIX
from fastif.gradients.per_example import Gradients, Tile
from fastif.models.parameter_subset import Subset
from fastif.solvers.direct import Direct, divided
from fastif.solvers.gram import ShiftedInverse, shifted_inverse
from fastif.solvers.solver import Factor, Solver

Mode = Literal["auto", "on", "off"]

ON = "on"
MOST = 3 * 10**11
"""Multiplications that "auto" may take, once a process: some ten seconds on two cores."""

DENSE = 2000
"""Parameters up to which "auto" factorises the dense matrix, whatever the solver is."""

NEGLIGIBLE = 1e-9
"""1 - leverage below which nothing holds the direction of the row once it is gone."""


@dataclass(frozen=True, eq=False)
class Leverage:
    """Weights of the root rows that make first-order effects those of one Newton step.

    With A = H + λI, H = 1/n Σ_j R_jᵀ R_j over the root rows R_j [c p] of each training example and
    ∇L(i) = R_iᵀ u_i, leaving out example i takes its term away and leaves n, the penalty and λ as
    they are. So A becomes A - R_iᵀ R_i / n, and by Woodbury

        (A - R_iᵀ R_i / n)⁻¹ ∇L(i) = A⁻¹ R_iᵀ w_i,   w_i = (I - M_i)⁻¹ u_i,   M_i = R_i A⁻¹ R_iᵀ / n

    For one output M_i is the leverage h_i of regression, from 0 to below 1, and the effect is the
    first-order one times 1 / (1 - h_i) (Cook and Weisberg, 1982; Pregibon, 1981, for logistic
    models; Beirami et al., 2017). With several the row's gradient turns as well.

    Attributes:
        weights: w_i; NaN where the gradient is not finite, or M_i has an eigenvalue of 1.
        largest: largest eigenvalue of any M_i.
    """

    weights: Float[Tensor, "n c"]
    largest: float

    def in_rows(self, at: InRoots) -> InRoots:
        """`at` with these weights, in the order of the root rows."""
        return replace(at, weights=self.weights[at.owners, at.columns])


@dataclass(frozen=True)
class Off:
    """That effects are to first order.

    Attributes:
        reason: why, in words.
    """

    reason: str


def check_leverage(operator: Damped, train: Examples) -> None:
    """Refuse a curvature that no leverage can be taken of, before any work is done.

    Raises:
        InputError: why.
    """
    reason = _impossible(operator, train)
    if reason is not None:
        raise _refusal(reason)


def leverage_of(
    operator: Damped,
    solver: Solver,
    factor: Factor,
    train: Examples,
    mode: Mode = "auto",
    inverse: ShiftedInverse | None = None,
) -> Leverage | Off:
    """The leverage of all training examples, or why it is left out.

    "auto" takes it where it is cheap: with what `Direct` or `Dual` (without a rank) have factored,
    or with a dense factorisation of up to 2,000 parameters. "on" takes it at any price, at worst by
    solving for every root row.

    Args:
        operator: the damped curvature.
        solver: whose answers are corrected.
        factor: what it keeps of the operator.
        train: the training examples.
        mode: see above; "off" leaves it out.
        inverse: of the kernel of root rows, if it is at hand.

    Raises:
        InputError: the mode is unknown, or "on" where there is no leverage to take.
    """
    if mode not in get_args(Mode):
        raise InputError("leverage", '"auto", "on" or "off"', f'"{mode}"', "Leave it out.")
    reason = "not asked for" if mode == "off" else _impossible(operator, train)
    rooted = operator.operator
    if reason is None and mode == "auto":
        reason = _dear(operator, factor)
    if reason is None:
        assert isinstance(rooted, Rooted)  # as checked
        at = rooted.in_roots(train)
        if at is not None:
            return _taken(operator, rooted, solver, factor, at, inverse)
        reason = "the gradients of the loss are not made of its root rows"
    if mode == "on":
        raise _refusal(reason)
    return Off(reason)


def mixing(gradients: Gradients) -> Gradients:
    """Gradients of the same objective that take weights of root rows beside each example."""
    objective = gradients.objective
    mixed = Gradients(Subset(objective, objective.space.names))
    if gradients.one_by_one:
        mixed.one_by_one = True
    return mixed


def scored_tile(
    gradients: Gradients, train: Examples, ids: Int[Tensor, " b"], weights: Tensor | None
) -> Tile:
    """What s_test is multiplied with: loss gradients, or with weights R_iᵀ w_i."""
    batch = train.take(ids)
    if weights is None:
        return gradients.of_losses(batch)
    return next(gradients.of_roots({**batch, MIX: weights[ids].to(batch["labels"].device)}))


def _refusal(reason: str) -> InputError:
    return InputError(
        "[curvature] leverage",
        "a Gauss-Newton matrix over all training rows, of a loss such as cross-entropy",
        reason,
        'Leave it at "auto", or choose another curvature.',
    )


def _impossible(operator: Damped, train: Examples) -> str | None:
    rooted = operator.operator
    if getattr(rooted, "examples", train) is not train:
        return "the curvature was made of other examples than those that are scored"
    if not isinstance(rooted, Rooted):
        return f"{type(rooted).__name__} has no root rows"
    if rooted.whole() is not rooted or rooted.count != len(train):
        return "the curvature is not that of all training rows"
    return None


def _dear(operator: Damped, factor: Factor) -> str | None:
    """Why it is not cheap; None if it is."""
    rooted, size = operator.operator, operator.size
    assert isinstance(rooted, Rooted)
    rows = rooted.count * rooted.columns
    cost = rows * size**2
    if "kernel" in factor and "mix" not in factor:
        cost = rows**3 // 3
    elif "lu" in factor:
        return None if cost <= max(MOST, size**3) else _price(cost)
    elif size > DENSE:
        return "the solver has no factor to take it from"
    return None if cost <= MOST else _price(cost)


def _price(cost: int) -> str:
    return f'it takes {cost:.1e} multiplications, which leverage = "on" allows'


def _taken(
    operator: Damped,
    rooted: Rooted,
    solver: Solver,
    factor: Factor,
    at: InRoots,
    inverse: ShiftedInverse | None,
) -> Leverage:
    if inverse is None and "kernel" in factor and "mix" not in factor:
        kernel = factor["kernel"].to(operator.like.device)
        inverse = shifted_inverse(kernel, operator.damping * rooted.count)
    if inverse is not None:
        places = at.by_example(torch.arange(len(at.owners)))
        gaps = operator.damping * rooted.count * inverse.blocks(places.to(inverse.factor.device))
    else:
        gaps = _gaps_by_solving(operator, rooted, solver, factor, at)
    return _weights(gaps.cpu(), at.by_example(at.weights))


def _gaps_by_solving(
    operator: Damped, rooted: Rooted, solver: Solver, factor: Factor, at: InRoots
) -> Float[Tensor, "n c c"]:
    """I - M_i of each example, by A⁻¹ of its root rows."""
    if "lu" not in factor and operator.size <= DENSE:
        factor = Direct().factor(operator)
    prepared = None if "lu" in factor else solver.prepare(operator, factor)
    blocks = []
    for piece in range(rooted.pieces):
        rows = torch.stack([tile.rows.clone() for tile in rooted.roots(piece)])
        flat = rows.flatten(0, 1)
        solved = divided(factor, flat) if prepared is None else prepared(flat).value
        solved = solved.unflatten(0, rows.shape[:2])
        met = torch.einsum("cbp,dbp->bcd", rows.double(), solved.double())
        blocks.append(torch.eye(len(rows), dtype=met.dtype, device=met.device) - met / rooted.count)
    owners = at.owners[at.columns == 0]  # the examples in the order of the pieces
    gaps = torch.cat(blocks).cpu()
    found = torch.empty_like(gaps)
    found[owners] = gaps
    return found


def _weights(gaps: Float[Tensor, "n c c"], own: Float[Tensor, "n c"]) -> Leverage:
    finite = torch.isfinite(gaps).all((1, 2))
    gaps = torch.where(finite[:, None, None], gaps, torch.eye(gaps.shape[1], dtype=gaps.dtype))
    least = torch.linalg.eigvalsh((gaps + gaps.mT) / 2)[:, 0]
    held = finite & (least > NEGLIGIBLE)
    safe = torch.where(held[:, None, None], gaps, torch.eye(gaps.shape[1], dtype=gaps.dtype))
    weights = torch.linalg.solve(safe, own.double()[:, :, None])[:, :, 0]
    return Leverage(weights.masked_fill(~held[:, None], torch.nan), float((1 - least).max()))
