"""An inverse through few root rows, drawn once: what stands before an iterative solver."""

import torch
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.curvature.sampled_ggn import Drawn
from fastif.errors import InputError
from fastif.gradients.per_example import Tile
from fastif.solvers.gram import (
    add_spread,
    kernel_matrix,
    project,
    shifted_inverse,
    tiles,
)
from fastif.solvers.lanczos import Inverse
from fastif.solvers.solver import Factor

MOST_ROWS = 20_000
"""Rows whose kernel is made; in double precision it takes 3.2 GB."""

HELD_BYTES = 2**30
"""Root rows that are held; if there are more they are taken anew each time."""


def check_rows(count: int) -> None:
    """Refuse more root rows than a kernel is made of.

    Raises:
        InputError: naming the limit.
    """
    if count > MOST_ROWS:
        raise InputError(
            "[solver] rank",
            f"at most {MOST_ROWS:,} drawn root rows",
            f"{count:,}",
            "Take fewer, say 4000: few root rows carry nearly all of the curvature.",
        )


def drawn_factor(curvature: GaussNewton, count: int) -> Factor:
    """The root rows that were drawn, and their kernel K = R Rᵀ."""
    drawn = Drawn.of(curvature, count)
    row_bytes = drawn.size * drawn.like.element_size()
    held = max(1, HELD_BYTES // (row_bytes * drawn.batch_size))
    return {"ids": drawn.ids, "mix": drawn.mix, "kernel": kernel_matrix(drawn, held)}


def drawn_inverse(curvature: GaussNewton, factor: Factor, damping: float) -> Inverse:
    """(RᵀR / m + λI)⁻¹ b = (b - Rᵀ (K + λ m I)⁻¹ R b) / λ, in two sweeps over m root rows."""
    drawn = Drawn.again(curvature, factor["ids"], factor["mix"])
    kernel = factor["kernel"].to(drawn.like.device)
    small = shifted_inverse(kernel, damping * drawn.count)
    if drawn.count * drawn.size * drawn.like.element_size() > HELD_BYTES:
        return lambda rows: add_spread(drawn, -small(project(drawn, rows)), rows.clone()) / damping
    held = Tile(torch.cat([tile.rows.clone() for tile in tiles(drawn, 0, drawn.pieces)]))

    def inverse(rows: Tensor) -> Tensor:
        value = rows.clone()
        held.add_to(value, -small(held.times(rows).double()).to(rows.dtype))
        return value.div_(damping)

    return inverse
