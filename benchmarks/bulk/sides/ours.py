"""fastif's sides: the exact audit, EK-FAC's full score matrix, and the last layer alone."""

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
    operator, solver = matrix.damped(sizes.damping), fastif.Dual()
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
    certificate = _answered(call, problem, clock).certificate
    return Told({"residual": float(certificate.residual.max())}, {})


def ekfac(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """EK-FAC of the linear layers and every score, with no residual measured: as kronfluence."""
    return _ekfac(problem, problem.linear, sizes, clock)


def last_layer(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> Told:
    """The same for the last linear layer alone, which is all that captum's fast form sees."""
    objective = fastif.TransformerObjective(problem.objective.whole, ["^classifier"])
    return _ekfac(problem, objective, sizes, clock)


def _ekfac(
    problem: Problem, objective: fastif.TransformerObjective, sizes: Sizes, clock: Clock
) -> Told:
    _open(problem, clock)
    matrix = fastif.GaussNewton(objective, problem.train, batch_size=sizes.batch)
    fitted = clock.time("factor", lambda: fastif.Ekfac.fit(matrix))
    call = fastif.Attributor(
        objective,
        problem.train,
        fitted.damped(sizes.ekfac_damping),
        fastif.Spectral(),
        fastif.Everything(),
        batch_size=sizes.batch,
        certify_rows=0,
    )
    scores = in_order(_answered(call, problem, clock).influences)
    return Told({"parameters": objective.space.size}, {"scores": scores})


def in_order(found: fastif.Influences) -> Float[Tensor, "q n"]:
    """Scores by the position of the training row."""
    return torch.empty_like(found.removal_effect).scatter_(1, found.ids, found.removal_effect)


def _open(problem: Problem, clock: Clock) -> None:
    """The frozen part of every row, once: other packages are given it, the paper has none."""
    _ = problem.objective
    clock.time("prefix", lambda: (problem.train, problem.asked))


def _answered(call: fastif.Attributor, problem: Problem, clock: Clock) -> fastif.Attribution:
    asked = problem.asked
    return clock.time("answer", lambda: call(asked, fastif.every(asked)))
