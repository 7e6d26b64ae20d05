"""One model's part of an answer: queries that are solved, and the evidence."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.attribution.certificate import DIVERGED, GRADIENT, Certificate
from fastif.attribution.control_sample import Control, control, control_ids
from fastif.attribution.full_residual import full_residual
from fastif.attribution.scorers import GradientScorer, KnownScorer, Scorer
from fastif.curvature.operator import Damped, Rooted
from fastif.data.examples import Examples
from fastif.gradients.per_example import Gradients
from fastif.numerics.blocked_dot import inner, lengths
from fastif.solvers.solver import ScoreAll, Solve, relative


@dataclass(frozen=True, eq=False)
class Solved:
    """Queries of one model that have been solved.

    Attributes:
        scorer: gives the scores.
        control: scores of the control sample.
        certificate: the evidence of the solve.
    """

    scorer: Scorer
    control: Control
    certificate: Certificate


@dataclass(frozen=True, eq=False)
class RowsSolved(Solved):
    """The same with s_test, [q p], at hand."""

    scorer: GradientScorer


def solve_rows(
    gradients: Gradients,
    train: Examples,
    operator: Damped,
    solve: Solve,
    rhs: Float[Tensor, "q p"],
    *,
    batch_size: int,
    certify_rows: int | None,
    remedy: str,
    mixed: Gradients | None = None,
    weights: Float[Tensor, "n c"] | None = None,
) -> RowsSolved:
    """S_test of queries with these gradients, which are overwritten; a matrix of q x p is added.

    Args:
        gradients: of the objective.
        train: the training examples.
        operator: the damped curvature.
        solve: a solver bound to it.
        rhs: gradients of the queries.
        batch_size: training examples whose gradients are held at once.
        certify_rows: training examples that `full_residual` is estimated on; None for all.
        remedy: what to change where a solve diverged.
        mixed: `mixing` gradients of the objective, where there are weights.
        weights: of each training example's root rows, see `Leverage`; None to first order.
    """
    size, broken = cleared(rhs)
    solution = solve(rhs)
    value = solution.value
    length, diverged = cleared(value)
    product = inner(rhs, value)
    scorer = GradientScorer(mixed or gradients, train, value, weights)
    checked = control(scorer, gradients, rhs, batch_size)
    whole = solution.residual
    if operator.operator.whole() is not operator.operator:
        rows = None if certify_rows is not None and certify_rows >= len(train) else certify_rows
        whole = full_residual(operator, value, rhs, rows=rows)  # the last to need rhs
    negative = (product <= 0) & (size > 0)  # bᵀ A⁻¹ b, so A is not positive definite along b
    certificate = Certificate(
        residual=solution.residual,
        full_residual=whole,
        converged=solution.converged & ~broken & ~diverged & ~negative,
        steps=solution.steps,
        damping=solution.damping,
        spread=solution.spread,
        gradient_norm=size,
        solution_norm=length,
        gradient_cosine=relative(product, size * length),
        score_correlation=checked.correlation(),
        reasons=_reasons(broken, diverged, remedy),
        dropped=torch.zeros(len(rhs), dtype=torch.long),
    )
    known = certificate.blank(broken | diverged)
    return RowsSolved(scorer, checked, known)


def solve_scores(
    train: Examples, rooted: Rooted, score: ScoreAll, rhs: Float[Tensor, "q p"], remedy: str
) -> Solved:
    """Scores of all training examples at once, without s_test; no matrix of q x p is added.

    Args:
        train: the n training examples.
        rooted: the curvature, over all of them.
        score: a solver bound to it.
        rhs: gradients of the queries; those that are not finite are set to zero.
        remedy: what to change where a solve diverged.
    """
    size, broken = cleared(rhs)
    found = score(rhs)
    sound = torch.ones(len(train), dtype=torch.bool)
    sound[rooted.broken] = False  # seen in the sweep just now
    diverged = ~torch.isfinite(found.solution_norm)
    ids = control_ids(len(train))
    scores, products = (rows[:, ids].cpu() for rows in (found.scores, found.products))
    scores[:, ~sound[ids]] = torch.nan
    checked = Control(scores, products)
    certificate = Certificate(
        residual=found.residual,
        full_residual=found.residual,
        converged=found.converged & ~broken & ~diverged,
        steps=1,
        damping=found.damping,
        spread=None,
        gradient_norm=size,
        solution_norm=found.solution_norm,
        gradient_cosine=relative(found.product, size * found.solution_norm),
        score_correlation=checked.correlation(),
        reasons=_reasons(broken, diverged, remedy),
        dropped=torch.zeros(len(rhs), dtype=torch.long),
    )
    known = certificate.blank(broken | diverged)
    return Solved(KnownScorer(train, found.scores, sound), checked, known)


def cleared(rows: Float[Tensor, "q p"]) -> tuple[Float[Tensor, " q"], Bool[Tensor, " q"]]:
    """Norms, and which of them are not finite; such rows are set to zero, to harm no other."""
    norms = lengths(rows)
    broken = ~torch.isfinite(norms)
    rows[broken] = 0
    return norms, broken


def _reasons(broken: Tensor, diverged: Tensor, remedy: str) -> tuple[str | None, ...]:
    remedy = f"{DIVERGED} {remedy}"
    pairs = zip(broken.tolist(), diverged.tolist(), strict=True)
    return tuple(GRADIENT if first else remedy if second else None for first, second in pairs)
