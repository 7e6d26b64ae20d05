"""Leverage of training examples: removal effects with the example's own curvature removed."""

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
from fastif.numerics.precision import autocast_passes
from fastif.numerics.transfer import send
from fastif.solvers.direct import Direct, solve_factored
from fastif.solvers.gram import ShiftedInverse, make_shifted_inverse
from fastif.solvers.solver import Factor, Solver

LeverageMode = Literal["auto", "on", "off"]

ON = "on"
MAX_AUTO_COST = 3 * 10**11
"""Multiplications that "auto" permits, once in a process: about ten seconds on two cores."""

MAX_DENSE_PARAMS = 2000
"""Number of parameters up to which "auto" factorises the dense matrix, for every solver."""

MIN_EIGENVALUE_GAP = 1e-9
"""Value of 1 - leverage below which the example alone determines a direction of the parameters."""


@dataclass(frozen=True, eq=False)
class Leverage:
    """Leverage correction: weights of the factor rows that turn first-order into one-step effects.

    With A = H + λI and H = 1/n Σ_j V_jᵀ V_j, V_j [c p] the factor rows of training example j, and
    ∇L(i) = V_iᵀ u_i: removal of example i subtracts its term from H and keeps n, the L2 penalty and
    λ. By the Woodbury identity the Newton step on the remaining examples needs

        (A - V_iᵀ V_i / n)⁻¹ ∇L(i) = A⁻¹ V_iᵀ w_i,   w_i = (I - M_i)⁻¹ u_i,   M_i = V_i A⁻¹ V_iᵀ / n

    For one output M_i is the leverage h_i of regression, from 0 to below 1, and the effect is the
    first-order one times 1 / (1 - h_i) (Cook and Weisberg, 1982; Pregibon, 1981, for logistic
    models; Beirami et al., 2017). With several outputs the direction of the gradient changes too.

    Attributes:
        weights: Weights w_i [n c] of the factor rows; NaN where the gradient is not finite, or M_i
            has an eigenvalue of 1.
        largest: Largest eigenvalue of any M_i.
    """

    weights: Float[Tensor, "n c"]
    largest: float

    def apply_weights(self, coefficients: FactorCoefficients) -> FactorCoefficients:
        """Replace the coefficients of the factor rows by these weights, in the same order."""
        return replace(
            coefficients, weights=self.weights[coefficients.owners, coefficients.columns]
        )


@dataclass(frozen=True)
class NoLeverage:
    """Absence of leverage: effects are first-order.

    Attributes:
        reason: Reason in words, recorded in the certificate.
    """

    reason: str


def check_leverage(operator: DampedOperator, train: Examples) -> None:
    """Refuse a curvature without leverage, before any work is done.

    Raises:
        InputError: The curvature is not a Gauss-Newton matrix over the full training set.
    """
    reason = find_leverage_obstacle(operator, train)
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
    """Leverage of all training examples, or the reason why it is omitted.

    "auto" computes it where it is cheap: from the factorisation of `Direct` or `Dual` (without a
    rank), or from a dense factorisation of up to 2,000 parameters. "on" computes it at any cost, at
    worst by a solve for every factor row.

    Args:
        operator: Damped curvature H + λI.
        solver: Solver of the queries, used for factor rows too.
        factor: Factorisation of the operator by this solver.
        train: Training set of n examples.
        mode: "auto", "on", or "off" to omit it.
        inverse: Inverse of the shifted Gram matrix V Vᵀ of factor rows, if already computed.

    Raises:
        InputError: The mode is unknown, or it is "on" and the curvature permits no leverage.
    """
    if mode not in get_args(LeverageMode):
        raise InputError("leverage", '"auto", "on" or "off"', f'"{mode}"', 'Use "auto".')
    reason = "not asked for" if mode == "off" else find_leverage_obstacle(operator, train)
    factored = operator.operator
    if reason is None and mode == "auto":
        reason = _find_cost_obstacle(operator, factor)
    if reason is None:
        assert isinstance(factored, FactoredOperator)  # find_leverage_obstacle refuses others
        coefficients = factored.compute_factor_coefficients(train)
        if coefficients is not None:
            return _compute_from_factor(operator, factored, solver, factor, coefficients, inverse)
        reason = "the gradients of the loss are no combinations of its factor rows"
    if mode == "on":
        raise _make_error(reason)
    return NoLeverage(reason)


def make_weighted_gradients(gradients: Gradients) -> Gradients:
    """Gradients of the same objective that read weights of factor rows from the batch."""
    objective = gradients.objective
    weighted = Gradients(ParameterSubset(objective, objective.space.names))
    if gradients.per_example_backward:
        weighted.per_example_backward = True
    return weighted


def compute_scored_tile(
    gradients: Gradients, train: Examples, ids: Int[Tensor, " b"], weights: Tensor | None
) -> GradientTile:
    """Training gradients to multiply with s_test: ∇L(i), or V_iᵀ w_i with leverage weights."""
    with autocast_passes(gradients.objective.like.device, gradients.precision):
        batch = train.take(ids)  # frozen layers that are not cached are part of the pass
    if weights is None:
        return gradients.compute_loss_tile(batch)
    return next(
        gradients.compute_sqrt_hessian_tiles(
            {**batch, COLUMN_WEIGHTS: send(weights[ids], batch["labels"].device)}
        )
    )


def _make_error(reason: str) -> InputError:
    return InputError(
        "[curvature] leverage",
        "a Gauss-Newton matrix over all training rows, of a loss such as cross-entropy",
        reason,
        'Set leverage = "auto", or choose another curvature.',
    )


def find_leverage_obstacle(operator: DampedOperator, train: Examples) -> str | None:
    """Return the reason why a curvature has no leverage, as a clause; None if it has.

    Args:
        operator: Damped curvature.
        train: Training set.
    """
    factored = operator.operator
    if not train.is_same_table(getattr(factored, "examples", train)):
        return "the curvature and the scores are of different training sets"
    if not isinstance(factored, FactoredOperator):
        return f"{type(factored).__name__} has no factor rows (V with G = VᵀV / n)"
    if factored.on_all_data() is not factored or factored.count != len(train):
        return "the curvature does not cover the full training set"
    return None


def _find_cost_obstacle(operator: DampedOperator, factor: Factor) -> str | None:
    """Return the reason why leverage is not cheap; None if it is cheap."""
    factored, size = operator.operator, operator.size
    assert isinstance(factored, FactoredOperator)
    rows = factored.count * factored.rows_per_example
    cost = rows * size**2
    if "kernel" in factor and "mix" not in factor:
        cost = rows**3 // 3
    elif "lu" in factor:
        return None if cost <= max(MAX_AUTO_COST, size**3) else _format_cost(cost)
    elif size > MAX_DENSE_PARAMS:
        return "the solver keeps no factorisation to compute it from"
    return None if cost <= MAX_AUTO_COST else _format_cost(cost)


def _format_cost(cost: int) -> str:
    return f'it takes {cost:.1e} multiplications, which leverage = "on" permits'


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
    """Matrices I - M_i of all examples, from A⁻¹ of their factor rows."""
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
    owners = coefficients.owners[coefficients.columns == 0]  # positions in the order of batches
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
