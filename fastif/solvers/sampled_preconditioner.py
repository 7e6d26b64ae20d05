"""An inverse through few root rows, drawn once: what stands before an iterative solver."""

import torch
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.solvers.cost import MAX_ROW_BYTES
from fastif.solvers.gram import (
    apply_factor,
    apply_factor_transpose,
    compute_gram_matrix,
    iterate_tiles,
    make_shifted_inverse,
)
from fastif.solvers.lanczos import Inverse
from fastif.solvers.solver import Factor

MAX_FACTOR_ROWS = 20_000
"""Rows whose kernel is made; in double precision it takes 3.2 GB."""


def check_row_count(count: int) -> None:
    """Refuse more root rows than a kernel is made of.

    Raises:
        InputError: naming the limit.
    """
    if count > MAX_FACTOR_ROWS:
        raise InputError(
            "[solver] rank",
            f"at most {MAX_FACTOR_ROWS:,} drawn root rows",
            f"{count:,}",
            "Take fewer, say 4000: few root rows carry nearly all of the curvature.",
        )


def fit_sampled_factor(curvature: GaussNewton, count: int) -> Factor:
    """The root rows that were drawn, and their kernel K = R Rᵀ."""
    sampled = SampledGaussNewton.from_curvature(curvature, count)
    row_bytes = sampled.size * sampled.like.element_size()
    held_batches = max(1, MAX_ROW_BYTES // (row_bytes * sampled.batch_size))
    return {
        "ids": sampled.ids,
        "mix": sampled.column_weights,
        "kernel": compute_gram_matrix(sampled, held_batches),
    }


def make_sampled_inverse(curvature: GaussNewton, factor: Factor, damping: float) -> Inverse:
    """(RᵀR / m + λI)⁻¹ b = (b - Rᵀ (K + λ m I)⁻¹ R b) / λ, in two sweeps over m root rows."""
    sampled = SampledGaussNewton.from_rows(curvature, factor["ids"], factor["mix"])
    kernel = factor["kernel"].to(sampled.like.device)
    shifted = make_shifted_inverse(kernel, damping * sampled.count)
    if sampled.count * sampled.size * sampled.like.element_size() > MAX_ROW_BYTES:
        return lambda rows: (
            apply_factor_transpose(sampled, -shifted(apply_factor(sampled, rows)), rows.clone())
            / damping
        )
    held_tile = GradientTile(
        torch.cat(
            [tile.gradients.clone() for tile in iterate_tiles(sampled, 0, sampled.num_batches)]
        )
    )

    def inverse(vectors: Tensor) -> Tensor:
        value = vectors.clone()
        held_tile.accumulate(value, -shifted(held_tile.dot(vectors).double()).to(vectors.dtype))
        return value.div_(damping)

    return inverse
