"""Solve queries with one model: s_test or scores, with the evidence of the solve."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.attribution.certificate import DIVERGED, NONFINITE_GRADIENT, Certificate
from fastif.attribution.control_sample import (
    ControlScores,
    score_control_sample,
    select_control_ids,
)
from fastif.attribution.full_residual import compute_full_residual
from fastif.attribution.scorers import GradientScorer, PrecomputedScorer, Scorer
from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.data.examples import Examples
from fastif.gradients.per_example import Gradients
from fastif.numerics.blocked_dot import row_dots, row_norms
from fastif.solvers.solver import ScoreFn, Solution, Solve, TrainingScores, safe_ratio


@dataclass(frozen=True, eq=False)
class SolvedQueries:
    """Solved queries of one model.

    Attributes:
        scorer: Scorer of training examples.
        control: Scores of the control sample.
        certificate: Evidence of the solve.
    """

    scorer: Scorer
    control: ControlScores
    certificate: Certificate


@dataclass(frozen=True, eq=False)
class SolvedWithIhvp(SolvedQueries):
    """Solved queries with their inverse-Hessian-vector products s_test [q p]."""

    scorer: GradientScorer


def solve_queries(
    gradients: Gradients,
    train: Examples,
    operator: DampedOperator,
    solve: Solve,
    rhs: Float[Tensor, "q p"],
    *,
    certify_rows: int | None,
    remedy: str,
    weighted_gradients: Gradients | None = None,
    weights: Float[Tensor, "n c"] | None = None,
) -> SolvedWithIhvp:
    """Solve for s_test of the given query gradients, which are overwritten.

    Memory beyond the gradients is one matrix of q x p.

    Args:
        gradients: Per-example gradients of the objective.
        train: Training set of n examples.
        operator: Damped curvature H + λI.
        solve: Solver bound to the operator.
        rhs: Query gradients [q p].
        certify_rows: Number of training examples for `compute_full_residual`; None for all.
        remedy: Advice for a query with a diverged solve.
        weighted_gradients: Gradients of `make_weighted_gradients`; needed if there are weights.
        weights: Weights [n c] of the training examples' factor rows, see `Leverage`; None for
            first-order effects.
    """
    gradient_norm, nonfinite = zero_nonfinite(rhs)
    solution = solve(rhs)
    s_test = solution.value
    solution_norm, diverged = zero_nonfinite(s_test)
    product = row_dots(rhs, s_test)
    scorer = GradientScorer(weighted_gradients or gradients, train, s_test, weights)
    control_scores = score_control_sample(scorer, gradients, rhs)
    is_whole = certify_rows is not None and certify_rows >= len(train)
    full_residual = _measure_full_residual(  # last, since it overwrites rhs
        operator, solution, rhs, None if is_whole else certify_rows
    )
    # bᵀ A⁻¹ b <= 0: A is not positive definite along b
    indefinite = (product <= 0) & (gradient_norm > 0)
    certificate = _make_certificate(
        replace(solution, converged=solution.converged & ~indefinite),
        control_scores,
        gradient_norm=gradient_norm,
        solution_norm=solution_norm,
        product=product,
        nonfinite=nonfinite,
        diverged=diverged,
        remedy=remedy,
        full_residual=full_residual,
        steps=solution.steps,
        spread=solution.spread,
    )
    return SolvedWithIhvp(scorer, control_scores, certificate)


def _measure_full_residual(
    operator: DampedOperator, solution: Solution, rhs: Float[Tensor, "q p"], size: int | None
) -> Float[Tensor, " q"] | None:
    """Residual on the full training set; the solver's own if its curvature covers it already."""
    if operator.operator.on_all_data() is operator.operator:
        return solution.residual
    return compute_full_residual(operator, solution.value, rhs, sample_size=size)


def score_queries(
    train: Examples,
    factored: FactoredOperator,
    score: ScoreFn,
    rhs: Float[Tensor, "q p"],
    remedy: str,
) -> SolvedQueries:
    """Scores of all training examples at once, without s_test; no matrix of q x p is added.

    Args:
        train: Training set of n examples.
        factored: Curvature over the full training set, as a factored operator.
        score: Scoring solver bound to the curvature.
        rhs: Query gradients [q p]; those that are not finite are set to zero.
        remedy: Advice for a query with a diverged solve.
    """
    gradient_norm, nonfinite = zero_nonfinite(rhs)
    solution = score(rhs)
    finite = torch.ones(len(train), dtype=torch.bool)
    finite[factored.nonfinite_ids] = False  # recorded by the sweep of `score`
    diverged = ~torch.isfinite(solution.solution_norm)
    ids = select_control_ids(len(train))
    scores, products = (matrix[:, ids].cpu() for matrix in (solution.scores, solution.products))
    scores[:, ~finite[ids]] = torch.nan
    control_scores = ControlScores(scores, products)
    certificate = _make_certificate(
        solution,
        control_scores,
        gradient_norm=gradient_norm,
        solution_norm=solution.solution_norm,
        product=solution.product,
        nonfinite=nonfinite,
        diverged=diverged,
        remedy=remedy,
        full_residual=solution.residual,
    )
    scorer = PrecomputedScorer(train, solution.scores, finite)
    return SolvedQueries(scorer, control_scores, certificate)


def _make_certificate(
    solution: Solution | TrainingScores,
    control: ControlScores,
    *,
    gradient_norm: Float[Tensor, " q"],
    solution_norm: Float[Tensor, " q"],
    product: Float[Tensor, " q"],
    nonfinite: Bool[Tensor, " q"],
    diverged: Bool[Tensor, " q"],
    remedy: str,
    full_residual: Float[Tensor, " q"] | None,
    steps: int = 1,
    spread: Float[Tensor, " q"] | None = None,
) -> Certificate:
    """Certificate of a solve with b = ∇L(query) and x = s_test; `product` is bᵀ x."""
    certificate = Certificate(
        residual=solution.residual,
        full_residual=full_residual,
        converged=solution.converged & ~nonfinite & ~diverged,
        steps=steps,
        damping=solution.damping,
        spread=spread,
        gradient_norm=gradient_norm,
        solution_norm=solution_norm,
        gradient_cosine=safe_ratio(product, gradient_norm * solution_norm),
        score_correlation=control.compute_correlation(),
        reasons=_format_reasons(nonfinite, diverged, remedy),
        dropped=torch.zeros(len(gradient_norm), dtype=torch.long),
    )
    return certificate.mask_failed(nonfinite | diverged)


def zero_nonfinite(vectors: Float[Tensor, "q p"]) -> tuple[Float[Tensor, " q"], Bool[Tensor, " q"]]:
    """Set vectors that are not finite to zero; return all norms, and the mask of these vectors."""
    norms = row_norms(vectors)
    nonfinite = ~torch.isfinite(norms)
    vectors[nonfinite] = 0
    return norms, nonfinite


def _format_reasons(nonfinite: Tensor, diverged: Tensor, remedy: str) -> tuple[str | None, ...]:
    remedy = f"{DIVERGED} {remedy}"
    pairs = zip(nonfinite.tolist(), diverged.tolist(), strict=True)
    return tuple(
        NONFINITE_GRADIENT if first else remedy if second else None for first, second in pairs
    )
