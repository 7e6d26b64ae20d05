"""Solvers of (A + λI) x = b, each with its own configuration and independent of the curvature A."""

import typing

from fastif.lazy_exports import make_getattr as _make_getattr

if typing.TYPE_CHECKING:
    from fastif.solvers.cg import ConjugateGradient
    from fastif.solvers.direct import Direct
    from fastif.solvers.dual import Dual
    from fastif.solvers.lissa import Lissa
    from fastif.solvers.solver import Factor, Solution, Solver
    from fastif.solvers.spectral import Spectral
else:
    __getattr__ = _make_getattr(__name__, __file__)

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
