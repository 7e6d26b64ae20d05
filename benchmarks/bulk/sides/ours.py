"""fastif's sides: audits with their certificates, and EK-FAC's scores alone."""

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.bulk.sides.told import Told


def exact(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The audit: the exact inverse over all rows, a full scan, and the whole certificate."""
    _open(problem, clock)
    matrix = fastif.GaussNewton(problem.objective, problem.train, batch_size=sizes.batch)
    solver = fastif.Dual(block_rows=sizes.block_rows)
    return _audit(problem, sizes, clock, matrix.damped(sizes.damping), solver)


def ekfac(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """EK-FAC of the linear layers and every score, with nothing certified: as kronfluence."""
    return _scores(problem, problem.linear, sizes, clock)


def last_layer(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same for the last linear layer alone, which is all that captum's fast form sees."""
    objective = fastif.TransformerObjective(problem.objective.whole, ["^classifier"])
    return _scores(problem, objective, sizes, clock)


def products(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """Gradient products and no curvature: what captum's TracInCP computes of one checkpoint."""
    return _products(problem, problem.objective, sizes, clock)


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
    problem: Problem, objective: fastif.TransformerObjective, sizes: Sizes, clock: Clock
) -> Told:
    _open(problem, clock)
    train, asked, size = problem.train, problem.asked, sizes.batch
    taken = fastif.Gradients(objective)
    rows = clock.time(
        "gradients", lambda: fastif.measure_rows(taken, asked, fastif.every(asked), size)
    )
    found = clock.time("scan", lambda: fastif.influence(taken, train, rows, batch_size=size))
    return Told({"parameters": objective.space.size}, {"scores": in_order(found)})


def _scores(
    problem: Problem, objective: fastif.TransformerObjective, sizes: Sizes, clock: Clock
) -> Told:
    _open(problem, clock)
    train, asked, size = problem.train, problem.asked, sizes.batch
    matrix = fastif.GaussNewton(objective, train, batch_size=size)
    fitted = clock.time("factor", lambda: fastif.Ekfac.fit(matrix))
    taken = matrix.gradients
    rows = clock.time(
        "gradients", lambda: fastif.measure_rows(taken, asked, fastif.every(asked), size)
    )
    solved = clock.time("solve", lambda: fitted.inverse(rows, sizes.ekfac_damping))
    del rows
    found = clock.time("scan", lambda: fastif.influence(taken, train, solved, batch_size=size))
    return Told({"parameters": objective.space.size}, {"scores": in_order(found)})


def in_order(found: fastif.Influences) -> Float[Tensor, "q n"]:
    """Scores by the position of the training row."""
    return torch.empty_like(found.removal_effect).scatter_(1, found.ids, found.removal_effect)


def _open(problem: Problem, clock: Clock) -> None:
    """The frozen part of every row, once: other packages are given it, the paper has none."""
    _ = problem.objective
    clock.time("prefix", lambda: (problem.train, problem.asked))
