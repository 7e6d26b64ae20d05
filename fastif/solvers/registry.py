"""SOLVERS: the solvers that a study file may name, the one place that lists them."""

from fastif.solvers.cg import ConjugateGradient
from fastif.solvers.direct import Direct
from fastif.solvers.dual import Dual
from fastif.solvers.lissa import Lissa
from fastif.solvers.solver import Solver
from fastif.solvers.spectral import Spectral

SOLVERS: dict[str, type[Solver]] = {
    "dual": Dual,
    "cg": ConjugateGradient,
    "spectral": Spectral,
    "lissa": Lissa,
    "direct": Direct,
}
"""`kind` -> class. Messages list them in this order."""
