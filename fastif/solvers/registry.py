"""Registry of the solvers that a study file may name."""

from fastif.solvers.settings import (
    ConjugateGradientSettings,
    DirectSettings,
    DualSettings,
    LissaSettings,
    SolverSettings,
    SpectralSettings,
)

SOLVERS: dict[str, type[SolverSettings]] = {
    "dual": DualSettings,
    "cg": ConjugateGradientSettings,
    "spectral": SpectralSettings,
    "lissa": LissaSettings,
    "direct": DirectSettings,
}
"""Records of the hyper-parameters by `kind`, in the order in which messages list them; a solver
that is defined elsewhere is a record itself."""
