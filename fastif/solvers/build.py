"""Construction of a solver from its hyper-parameters."""

from fastif.solvers.cg import ConjugateGradient
from fastif.solvers.direct import Direct
from fastif.solvers.dual import Dual
from fastif.solvers.lissa import Lissa
from fastif.solvers.settings import SolverSettings
from fastif.solvers.solver import Solver
from fastif.solvers.spectral import Spectral

_ALGORITHMS: tuple[type[Solver], ...] = (Dual, ConjugateGradient, Spectral, Lissa, Direct)


def build_solver(settings: SolverSettings) -> Solver:
    """Build the solver with these hyper-parameters; a solver is returned as it is.

    Examples:
        >>> from fastif.solvers.settings import DualSettings
        >>> build_solver(DualSettings(rank=7))
        Dual(block_rows=128, rank=7, memory_mb=3200, products='single', kind='dual')
    """
    if isinstance(settings, Solver):
        return settings
    algorithm = next(each for each in _ALGORITHMS if issubclass(each, type(settings)))
    return algorithm(**vars(settings))
