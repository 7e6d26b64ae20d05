"""Sides of fastif: audits with certificates, and scores by EK-FAC or gradient products alone."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from fastif.attribution.influence import mean_influence
from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.gradients.per_example import compute_measure_gradients
from fastif.numerics.precision import BF16
from fastif.solvers import Solver

Coarser = Callable[[GradientScorer], Scorer]
"""Scorer settings that trade accuracy for speed."""


def keep_precision(scorer: GradientScorer) -> Scorer:
    """Exact scores."""
    return scorer


def round_scorer(scorer: GradientScorer) -> Scorer:
    """Scores in bfloat16."""
    return scorer.with_precision(BF16)


def exact(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Run an audit: exact inverse over all rows, full scan, and the whole certificate."""
    solver = fastif.Dual(block_rows=sizes.block_rows)
    return _run_attributor(problem, sizes, clock, sizes.damping, solver)


def ekfac(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Run EK-FAC of the linear layers with all scores, without a certificate, as kronfluence."""
    return _score_ekfac(problem, problem.linear, sizes, clock)


def ekfac_rounded(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Run EK-FAC of the linear layers with scores in bfloat16."""
    return _score_ekfac(problem, problem.linear, sizes, clock, round_scorer)


def last_layer(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Run EK-FAC of the last linear layer alone, as TracInCPFast of captum does."""
    objective = fastif.TransformerObjective(problem.objective.full_model, ["^classifier"])
    return _score_ekfac(problem, objective, sizes, clock)


def products(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Compute gradient products without curvature, as TracInCP of captum with one checkpoint."""
    return _score_products(problem, problem.objective, sizes, clock)


def products_rounded(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Compute gradient products in bfloat16, summed in single precision."""
    return _score_products(problem, problem.objective, sizes, clock, round_scorer)


def products_ranked(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Compute gradient products with query gradients of low rank in each linear layer."""
    return _score_products(
        problem, problem.objective, sizes, clock, partial(make_low_rank_scorer, rank=sizes.rank)
    )


def last_products(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Compute gradient products over the last linear layer alone, as TracInCPFast."""
    objective = fastif.TransformerObjective(problem.objective.full_model, ["^classifier"])
    return _score_products(problem, objective, sizes, clock)


def certified(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Run EK-FAC as an audit; its residual is measured on the exact curvature of all rows."""
    return _run_attributor(problem, sizes, clock, sizes.ekfac_damping, fastif.Spectral())


def _run_attributor(
    problem: Problem, sizes: Sizes, clock: Clock, damping: float, solver: Solver
) -> SideResult:
    _open(problem, clock)
    train = problem.train.with_batch_size(sizes.batch)
    query_examples = problem.query_examples.with_batch_size(sizes.batch)
    operator = fastif.GaussNewton(problem.objective, train).with_damping(damping)
    factor = clock.time("factor", lambda: solver.factor(operator))
    search = fastif.ExhaustiveSearch(sizes.keep)
    call = fastif.Attributor(problem.objective, train, operator, solver, search, factor)
    attribution = clock.time("answer", lambda: call(query_examples, fastif.all_ids(query_examples)))
    return SideResult({"residual": float(attribution.certificate.residual.max())})


def _score_products(
    problem: Problem,
    objective: fastif.TransformerObjective,
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser = keep_precision,
) -> SideResult:
    _open(problem, clock)
    query_examples = problem.query_examples.with_batch_size(sizes.batch)
    gradients = fastif.Gradients(objective)
    rows = clock.time("gradients", lambda: compute_measure_gradients(gradients, query_examples))
    return _scan(problem, gradients, rows, sizes, clock, coarser)


def _score_ekfac(
    problem: Problem,
    objective: fastif.TransformerObjective,
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser = keep_precision,
) -> SideResult:
    _open(problem, clock)
    query_examples = problem.query_examples.with_batch_size(sizes.batch)
    matrix = fastif.GaussNewton(objective, problem.train.with_batch_size(sizes.batch))
    fitted = clock.time("factor", lambda: fastif.Ekfac.fit(matrix))
    gradients = matrix.gradients
    rows = clock.time("gradients", lambda: compute_measure_gradients(gradients, query_examples))
    solved = clock.time("solve", lambda: fitted.apply_inverse(rows, sizes.ekfac_damping))  # noqa: F821
    del rows
    return _scan(problem, gradients, solved, sizes, clock, coarser)


def _scan(
    problem: Problem,
    gradients: fastif.Gradients,
    rows: Float[Tensor, "q p"],
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser,
) -> SideResult:
    """Return the products of all training gradients with these vectors."""
    train = problem.train.with_batch_size(sizes.scan_batch)

    def scan() -> fastif.Influences:
        return mean_influence([coarser(GradientScorer(gradients, train, rows))])

    influences = clock.time("scan", scan)
    return SideResult(
        {"parameters": gradients.objective.space.size}, {"scores": in_order(influences)}
    )


def in_order(influences: fastif.Influences) -> Float[Tensor, "q n"]:
    """Return scores in the order of the training rows."""
    return torch.empty_like(influences.removal_effect).scatter_(
        1, influences.ids, influences.removal_effect
    )


def _open(problem: Problem, clock: Clock) -> None:
    """Compute the output of the frozen layers of all rows; other packages are given it."""
    _ = problem.objective
    clock.time("prefix", lambda: (problem.train, problem.query_examples))
