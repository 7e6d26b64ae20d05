"""Curvature of the training loss as symmetric linear operators: Gauss-Newton, Hessian, EK-FAC."""

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.hessian import Hessian
from fastif.curvature.operator import (
    DampedOperator,
    DenseOperator,
    FactoredOperator,
    LinearOperator,
)

__all__ = [
    "DampedOperator",
    "DenseOperator",
    "Ekfac",
    "FactoredOperator",
    "GaussNewton",
    "Hessian",
    "LinearOperator",
]
