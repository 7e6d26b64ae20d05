"""EK-FAC fits of the small test problems, and dense Gauss-Newton matrices for comparison."""

from functools import cache

import reference
import torch
from cases import Case, case
from torch import Tensor

from fastif import Ekfac, GaussNewton


def _case(name: str) -> Case:
    return case(name, 5 if name == "bert" else 9)


def _curvature(name: str, batch_size: int = 4) -> GaussNewton:
    made = _case(name)
    return GaussNewton(made.objective, made.train.with_batch_size(batch_size))


@cache
def _fit_ekfac(name: str) -> Ekfac:
    return Ekfac.fit(_curvature(name))


@cache
def _truth(name: str) -> Tensor:
    return reference.gauss_newton(_case(name).problem)


def _rows(size: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def _places(ekfac: Ekfac) -> list[Tensor]:
    """Return the coordinates of each block in a vector."""
    at = torch.arange(ekfac.size)
    space = ekfac.spec.space
    return [torch.cat([at[s] for s in space.select_slices(g.names)]) for g in ekfac.spec.groups]
