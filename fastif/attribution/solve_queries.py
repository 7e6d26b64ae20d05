"""One model's part of an answer: queries that are solved, and the evidence."""

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
    """Queries of one model that have been solved.

    Attributes:
        scorer: gives the scores.
        control: scores of the control sample.
        certificate: the evidence of the solve.
    """

    scorer: Scorer
    control: ControlScores
    certificate: Certificate


@dataclass(frozen=True, eq=False)
class SolvedWithIhvp(SolvedQueries):
    """The same with s_test, [q p], at hand."""

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
    """S_test of queries with these gradients, which are overwritten; a matrix of q x p is added.

    Args:
        gradients: of the objective.
        train: the training examples.
        operator: the damped curvature.
        solve: a solver bound to it.
        rhs: gradients of the queries.
        certify_rows: training examples that `compute_full_residual` is estimated on; None for all.
        remedy: what to change where a solve diverged.
        weighted_gradients: `make_weighted_gradients` gradients of the objective, where there are
            weights.
        weights: of each training example's root rows, see `Leverage`; None to first order.
    """
    gradient_norm, nonfinite = zero_nonfinite(rhs)
    solution = solve(rhs)
    s_test = solution.value
    solution_norm, diverged = zero_nonfinite(s_test)
    product = row_dots(rhs, s_test)
    scorer = GradientScorer(weighted_gradients or gradients, train, s_test, weights)
    control_scores = score_control_sample(scorer, gradients, rhs)
    is_whole = certify_rows is not None and certify_rows >= len(train)
    full_residual = _measure_full_residual(  # the last to need rhs
        operator, solution, rhs, None if is_whole else certify_rows
    )
    # bᵀ A⁻¹ b, so A is not positive definite along b
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
    """The solve's own residual where the curvature is that of all examples; rhs is overwritten."""
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
        train: the n training examples.
        factored: the curvature, over all of them.
        score: a solver bound to it.
        rhs: gradients of the queries; those that are not finite are set to zero.
        remedy: what to change where a solve diverged.
    """
    gradient_norm, nonfinite = zero_nonfinite(rhs)
    solution = score(rhs)
    finite = torch.ones(len(train), dtype=torch.bool)
    finite[factored.nonfinite_ids] = False  # seen in the sweep just now
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
    """What a solve says of itself, b = ∇L(query) and x = s_test; `product` is bᵀ x."""
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
    """Norms, and which of them are not finite; such rows are set to zero, to harm no other."""
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
