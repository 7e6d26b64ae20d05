"""dattri: Arnoldi, whose work is shared by all queries, and conjugate gradients, a query each."""

from dataclasses import replace

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.bulk.sides.told import SideResult
from benchmarks.fidelity.peers import dattri
from benchmarks.fidelity.peers.rows import by_length
from benchmarks.fidelity.plain import Plain

STEPS = 10
"""Conjugate gradient steps: its default."""


def arnoldi(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """All scores from the largest eigenvalues of the Hessian of some rows."""
    plain = by_length(problem.plain)[0]
    rows, krylov, damping = sizes.curvature, sizes.krylov, sizes.damping
    clock.time("answer", lambda: dattri.arnoldi(plain, turn, rows, krylov, damping))
    return SideResult()


def cg(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """One query, then a few: what they differ by is the time of a query."""
    plain = by_length(problem.plain)[0]
    for name, count in (("one", 1), ("few", 1 + sizes.few)):
        some = first_queries(plain, count)
        clock.time(
            name,
            lambda some=some: dattri.cg(some, turn, sizes.curvature, sizes.damping, STEPS),
        )
    return SideResult()


def first_queries(plain: Plain, count: int) -> Plain:
    """The same with so many queries of middling length."""
    start = (len(plain.query_labels) - count) // 2
    part = slice(start, start + count)
    inputs = tuple(tensor[part] for tensor in plain.query_inputs)
    return replace(plain, query_inputs=inputs, query_labels=plain.query_labels[part])
