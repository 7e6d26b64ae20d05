"""The leverage of a training row: its effect by one Newton step once its own curvature is gone."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactorCoefficients, FactoredOperator
from fastif.data.examples import COLUMN_WEIGHTS, Examples
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients
from fastif.models.parameter_subset import ParameterSubset
from fastif.solvers.direct import Direct, solve_factored
from fastif.solvers.gram import ShiftedInverse, make_shifted_inverse
from fastif.solvers.solver import Factor, Solver

LeverageMode = Literal["auto", "on", "off"]

ON = "on"
MAX_AUTO_COST = 3 * 10**11
"""Multiplications that "auto" may take, once a process: some ten seconds on two cores."""

MAX_DENSE_PARAMS = 2000
"""Parameters up to which "auto" factorises the dense matrix, whatever the solver is."""

MIN_EIGENVALUE_GAP = 1e-9
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

    def apply_weights(self, coefficients: FactorCoefficients) -> FactorCoefficients:
        """`coefficients` with these weights, in the order of the root rows."""
        return replace(
            coefficients, weights=self.weights[coefficients.owners, coefficients.columns]
        )


@dataclass(frozen=True)
class NoLeverage:
    """That effects are to first order.

    Attributes:
        reason: why, in words.
    """

    reason: str


def check_leverage(operator: DampedOperator, train: Examples) -> None:
    """Refuse a curvature that no leverage can be taken of, before any work is done.

    Raises:
        InputError: why.
    """
    reason = _find_obstacle(operator, train)
    if reason is not None:
        raise _make_error(reason)


def compute_leverage(
    operator: DampedOperator,
    solver: Solver,
    factor: Factor,
    train: Examples,
    mode: LeverageMode = "auto",
    inverse: ShiftedInverse | None = None,
) -> Leverage | NoLeverage:
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
    if mode not in get_args(LeverageMode):
        raise InputError("leverage", '"auto", "on" or "off"', f'"{mode}"', "Leave it out.")
    reason = "not asked for" if mode == "off" else _find_obstacle(operator, train)
    factored = operator.operator
    if reason is None and mode == "auto":
        reason = _find_cost_obstacle(operator, factor)
    if reason is None:
        assert isinstance(factored, FactoredOperator)  # as checked
        coefficients = factored.compute_factor_coefficients(train)
        if coefficients is not None:
            return _compute_from_factor(operator, factored, solver, factor, coefficients, inverse)
        reason = "the gradients of the loss are not made of its root rows"
    if mode == "on":
        raise _make_error(reason)
    return NoLeverage(reason)


def make_weighted_gradients(gradients: Gradients) -> Gradients:
    """Gradients of the same objective that take weights of root rows beside each example."""
    objective = gradients.objective
    weighted = Gradients(ParameterSubset(objective, objective.space.names))
    if gradients.per_example_backward:
        weighted.per_example_backward = True
    return weighted


def compute_scored_tile(
    gradients: Gradients, train: Examples, ids: Int[Tensor, " b"], weights: Tensor | None
) -> GradientTile:
    """What s_test is multiplied with: loss gradients, or with weights R_iᵀ w_i."""
    batch = train.take(ids)
    if weights is None:
        return gradients.compute_loss_tile(batch)
    return next(
        gradients.compute_sqrt_hessian_tiles(
            {**batch, COLUMN_WEIGHTS: weights[ids].to(batch["labels"].device)}
        )
    )


def _make_error(reason: str) -> InputError:
    return InputError(
        "[curvature] leverage",
        "a Gauss-Newton matrix over all training rows, of a loss such as cross-entropy",
        reason,
        'Leave it at "auto", or choose another curvature.',
    )


def _find_obstacle(operator: DampedOperator, train: Examples) -> str | None:
    factored = operator.operator
    if not train.is_same_table(getattr(factored, "examples", train)):
        return "the curvature was made of other examples than those that are scored"
    if not isinstance(factored, FactoredOperator):
        return f"{type(factored).__name__} has no root rows"
    if factored.on_all_data() is not factored or factored.count != len(train):
        return "the curvature is not that of all training rows"
    return None


def _find_cost_obstacle(operator: DampedOperator, factor: Factor) -> str | None:
    """Why it is not cheap; None if it is."""
    factored, size = operator.operator, operator.size
    assert isinstance(factored, FactoredOperator)
    rows = factored.count * factored.rows_per_example
    cost = rows * size**2
    if "kernel" in factor and "mix" not in factor:
        cost = rows**3 // 3
    elif "lu" in factor:
        return None if cost <= max(MAX_AUTO_COST, size**3) else _format_cost(cost)
    elif size > MAX_DENSE_PARAMS:
        return "the solver has no factor to take it from"
    return None if cost <= MAX_AUTO_COST else _format_cost(cost)


def _format_cost(cost: int) -> str:
    return f'it takes {cost:.1e} multiplications, which leverage = "on" allows'


def _compute_from_factor(
    operator: DampedOperator,
    factored: FactoredOperator,
    solver: Solver,
    factor: Factor,
    coefficients: FactorCoefficients,
    inverse: ShiftedInverse | None,
) -> Leverage:
    if inverse is None and "kernel" in factor and "mix" not in factor:
        gram = factor["kernel"].to(operator.like.device)
        inverse = make_shifted_inverse(gram, operator.damping * factored.count)
    if inverse is not None:
        positions = coefficients.arrange_by_example(torch.arange(len(coefficients.owners)))
        gaps = (
            operator.damping
            * factored.count
            * inverse.extract_blocks(positions.to(inverse.factor.device))
        )
    else:
        gaps = _solve_gaps(operator, factored, solver, factor, coefficients)
    return _solve_weights(gaps.cpu(), coefficients.arrange_by_example(coefficients.weights))


def _solve_gaps(
    operator: DampedOperator,
    factored: FactoredOperator,
    solver: Solver,
    factor: Factor,
    coefficients: FactorCoefficients,
) -> Float[Tensor, "n c c"]:
    """I - M_i of each example, by A⁻¹ of its root rows."""
    if "lu" not in factor and operator.size <= MAX_DENSE_PARAMS:
        factor = Direct().factor(operator)
    prepared = None if "lu" in factor else solver.prepare(operator, factor)
    blocks = []
    for batch in range(factored.num_batches):
        rows = torch.stack([tile.gradients.clone() for tile in factored.factor_rows(batch)])
        flat_rows = rows.flatten(0, 1)
        solved = (
            solve_factored(factor, flat_rows) if prepared is None else prepared(flat_rows).value
        )
        solved = solved.unflatten(0, rows.shape[:2])
        gram = torch.einsum("cbp,dbp->bcd", rows.double(), solved.double())
        blocks.append(
            torch.eye(len(rows), dtype=gram.dtype, device=gram.device) - gram / factored.count
        )
    owners = coefficients.owners[
        coefficients.columns == 0
    ]  # the examples in the order of the pieces
    gaps = torch.cat(blocks).cpu()
    ordered_gaps = torch.empty_like(gaps)
    ordered_gaps[owners] = gaps
    return ordered_gaps


def _solve_weights(gaps: Float[Tensor, "n c c"], loss_gradients: Float[Tensor, "n c"]) -> Leverage:
    finite = torch.isfinite(gaps).all((1, 2))
    gaps = torch.where(finite[:, None, None], gaps, torch.eye(gaps.shape[1], dtype=gaps.dtype))
    min_eigenvalues = torch.linalg.eigvalsh((gaps + gaps.mT) / 2)[:, 0]
    solvable = finite & (min_eigenvalues > MIN_EIGENVALUE_GAP)
    safe = torch.where(solvable[:, None, None], gaps, torch.eye(gaps.shape[1], dtype=gaps.dtype))
    weights = torch.linalg.solve(safe, loss_gradients.double()[:, :, None])[:, :, 0]
    return Leverage(
        weights.masked_fill(~solvable[:, None], torch.nan), float((1 - min_eigenvalues).max())
    )
