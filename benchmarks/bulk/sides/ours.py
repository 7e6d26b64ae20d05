"""fastif's sides: audits with their certificates, and EK-FAC's scores alone."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.bulk.sides.told import Told
from fastif.attribution.low_rank_scorer import low_rank
from fastif.attribution.scorers import Scorer

Coarser = Callable[[fastif.GradientScorer], Scorer]
"""What makes scores cheaper and less exact."""


def same(scorer: fastif.GradientScorer) -> Scorer:
    """In full."""
    return scorer


def exact(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The audit: the exact inverse over all rows, a full scan, and the whole certificate."""
    _open(problem, clock)
    matrix = fastif.GaussNewton(problem.objective, problem.train, batch_size=sizes.batch)
    solver = fastif.Dual(block_rows=sizes.block_rows)
    return _audit(problem, sizes, clock, matrix.damped(sizes.damping), solver)


def ekfac(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """EK-FAC of the linear layers and every score, with nothing certified: as kronfluence."""
    return _scores(problem, problem.linear, sizes, clock)


def ekfac_rounded(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same, with scores in bfloat16."""
    return _scores(problem, problem.linear, sizes, clock, fastif.GradientScorer.rounded)


def last_layer(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same for the last linear layer alone, which is all that captum's fast form sees."""
    objective = fastif.TransformerObjective(problem.objective.whole, ["^classifier"])
    return _scores(problem, objective, sizes, clock)


def products(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """Gradient products and no curvature: what captum's TracInCP computes of one checkpoint."""
    return _products(problem, problem.objective, sizes, clock)


def products_rounded(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same products in bfloat16, summed in single precision."""
    return _products(problem, problem.objective, sizes, clock, fastif.GradientScorer.rounded)


def products_ranked(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same products, with queries of a low rank in every linear layer."""
    return _products(problem, problem.objective, sizes, clock, partial(low_rank, rank=sizes.rank))


def last_products(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same over the last linear layer alone: what TracInCPFast computes."""
    objective = fastif.TransformerObjective(problem.objective.whole, ["^classifier"])
    return _products(problem, objective, sizes, clock)


def certified(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """EK-FAC as an audit: its residual is measured on the exact curvature of all rows."""
    _open(problem, clock)
    matrix = fastif.GaussNewton(problem.objective, problem.train, batch_size=sizes.batch)
    operator, solver = matrix.damped(sizes.ekfac_damping), fastif.Spectral()
    return _audit(problem, sizes, clock, operator, solver)


def _audit(
    problem: Problem, sizes: Sizes, clock: Clock, operator: fastif.Damped, solver: fastif.Solver
) -> Told:
    factor = clock.time("factor", lambda: solver.factor(operator))
    call = fastif.Attributor(
        problem.objective,
        problem.train,
        operator,
        solver,
        fastif.Everything(sizes.keep),
        factor,
        sizes.batch,
    )
    asked = problem.asked
    found = clock.time("answer", lambda: call(asked, fastif.every(asked)))
    return Told({"residual": float(found.certificate.residual.max())})


def _products(
    problem: Problem,
    objective: fastif.TransformerObjective,
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser = same,
) -> Told:
    _open(problem, clock)
    asked, size = problem.asked, sizes.batch
    taken = fastif.Gradients(objective)
    rows = clock.time(
        "gradients", lambda: fastif.measure_rows(taken, asked, fastif.every(asked), size)
    )
    return _scanned(problem, taken, rows, sizes, clock, coarser)


def _scores(
    problem: Problem,
    objective: fastif.TransformerObjective,
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser = same,
) -> Told:
    _open(problem, clock)
    asked, size = problem.asked, sizes.batch
    matrix = fastif.GaussNewton(objective, problem.train, batch_size=size)
    fitted = clock.time("factor", lambda: fastif.Ekfac.fit(matrix))
    taken = matrix.gradients
    rows = clock.time(
        "gradients", lambda: fastif.measure_rows(taken, asked, fastif.every(asked), size)
    )
    solved = clock.time("solve", lambda: fitted.inverse(rows, sizes.ekfac_damping))
    del rows
    return _scanned(problem, taken, solved, sizes, clock, coarser)


def _scanned(
    problem: Problem,
    gradients: fastif.Gradients,
    rows: Float[Tensor, "q p"],
    sizes: Sizes,
    clock: Clock,
    coarser: Coarser,
) -> Told:
    """Every training row's product with these rows."""

    def scan() -> fastif.Influences:
        scorer = coarser(fastif.GradientScorer(gradients, problem.train, rows))
        return fastif.mean_influence([scorer], batch_size=sizes.scan_batch)

    found = clock.time("scan", scan)
    return Told({"parameters": gradients.objective.space.size}, {"scores": in_order(found)})


def in_order(found: fastif.Influences) -> Float[Tensor, "q n"]:
    """Scores by the position of the training row."""
    return torch.empty_like(found.removal_effect).scatter_(1, found.ids, found.removal_effect)


def _open(problem: Problem, clock: Clock) -> None:
    """The frozen part of every row, once: other packages are given it, the paper has none."""
    _ = problem.objective
    clock.time("prefix", lambda: (problem.train, problem.asked))
