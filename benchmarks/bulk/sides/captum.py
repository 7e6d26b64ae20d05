"""captum: the gradient product over all parameters and over the last layer, and Arnoldi."""

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.bulk.sides.told import SideResult
from benchmarks.fidelity.peers import captum
from benchmarks.fidelity.peers.rows import by_length


def tracin(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """TracInCP with the final weights: the gradient product, no curvature."""
    plain = by_length(problem.plain)[0]
    clock.time("answer", lambda: captum.tracin(plain, turn))
    return SideResult()


def tracin_fast(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """TracInCPFast: the gradient product of the last linear layer."""
    plain = by_length(problem.plain)[0]
    clock.time("answer", lambda: captum.tracin_fast(plain, turn))
    return SideResult()


def arnoldi(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """The inverse Hessian of some rows on its largest eigenvalues."""
    plain = by_length(problem.plain)[0]
    rows, krylov, damping = sizes.curvature, sizes.krylov, sizes.damping
    clock.time("answer", lambda: captum.arnoldi(plain, turn, rows, krylov, krylov, damping))
    return SideResult()
