"""dattri: conjugate gradients, each query by itself."""

from dataclasses import replace

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.peers import dattri
from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import by_length

STEPS = 10
"""Conjugate gradient steps: its default."""


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
