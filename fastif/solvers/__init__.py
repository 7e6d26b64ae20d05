"""Solvers of (A + λI) x = b, each with its own configuration and independent of the curvature A."""

from fastif.solvers.cg import ConjugateGradient
from fastif.solvers.direct import Direct
from fastif.solvers.dual import Dual
from fastif.solvers.lissa import Lissa
from fastif.solvers.solver import Factor, Solution, Solver
from fastif.solvers.spectral import Spectral

__all__ = [
    "ConjugateGradient",
    "Direct",
    "Dual",
    "Factor",
    "Lissa",
    "Solution",
    "Solver",
    "Spectral",
]
