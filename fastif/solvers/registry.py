"""Registry of the solvers that a study file may name."""

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
"""Solver classes by `kind`, in the order in which messages list them."""
