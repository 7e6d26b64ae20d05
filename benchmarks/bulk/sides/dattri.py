"""dattri: conjugate gradients, one query at a time."""

from dataclasses import replace

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.peers import dattri
from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import by_length

STEPS = 10
"""Conjugate gradient steps, the default of dattri."""


def cg(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Time one query, then a few; the difference is the time of further queries."""
    plain = by_length(problem.plain)[0]
    for name, count in (("one", 1), ("few", 1 + sizes.few)):
        some = first_queries(plain, count)
        clock.time(
            name,
            lambda some=some: dattri.cg(some, turn, sizes.curvature, sizes.damping, STEPS),
        )
    return SideResult()


def first_queries(plain: Plain, count: int) -> Plain:
    """Return the workload with this many queries of medium length."""
    start = (len(plain.query_labels) - count) // 2
    part = slice(start, start + count)
    inputs = tuple(tensor[part] for tensor in plain.query_inputs)
    return replace(plain, query_inputs=inputs, query_labels=plain.query_labels[part])
