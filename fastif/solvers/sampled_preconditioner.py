"""Preconditioner from an importance-sampled Gauss-Newton matrix, inverted by Woodbury."""

import torch
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.errors import InputError
from fastif.gradients.structured_tile import concat_rows
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
"""Largest number of sampled factor rows; their Gram matrix in double precision takes 3.2 GB."""


def check_row_count(count: int) -> None:
    """Refuse more sampled factor rows than the Gram matrix may have.

    Raises:
        InputError: If there are more than `MAX_FACTOR_ROWS`.
    """
    if count > MAX_FACTOR_ROWS:
        raise InputError(
            "[solver] rank",
            f"at most {MAX_FACTOR_ROWS:,} sampled rows of the GGN factor",
            f"{count:,}",
            "Set a smaller rank, say 4000: few factor rows carry nearly all of the curvature.",
        )


def fit_sampled_factor(curvature: GaussNewton, count: int) -> Factor:
    """Sample factor rows and return their positions, weights and Gram matrix K = V Vᵀ."""
    sampled = SampledGaussNewton.from_curvature(curvature, count)
    row_bytes = sampled.size * sampled.like.element_size()
    held_batches = max(1, MAX_ROW_BYTES // (row_bytes * sampled.batch_size))
    return {
        "ids": sampled.ids,
        "mix": sampled.column_weights,
        "kernel": compute_gram_matrix(sampled, held_batches),
    }


def make_sampled_inverse(curvature: GaussNewton, factor: Factor, damping: float) -> Inverse:
    """Return the function that multiplies by (VᵀV / m + λI)⁻¹, for m sampled factor rows.

        (VᵀV / m + λI)⁻¹ b = (b - Vᵀ (K + λm I)⁻¹ V b) / λ

    A product takes two passes over the factor rows, or none if they fit into `MAX_ROW_BYTES`.
    """
    sampled = SampledGaussNewton.from_rows(curvature, factor["ids"], factor["mix"])
    kernel = factor["kernel"].to(sampled.like.device)
    shifted = make_shifted_inverse(kernel, damping * sampled.count)
    if sampled.count * sampled.size * sampled.like.element_size() > MAX_ROW_BYTES:
        return lambda rows: (
            apply_factor_transpose(sampled, -shifted(apply_factor(sampled, rows)), rows.clone())
            / damping
        )
    tiles = iterate_tiles(sampled, 0, sampled.num_batches)
    held_tile = concat_rows([tile.select(torch.arange(len(tile))) for tile in tiles])

    def inverse(vectors: Tensor) -> Tensor:
        value = vectors.clone()
        held_tile.accumulate(value, -shifted(held_tile.dot(vectors).double()).to(vectors.dtype))
        return value.div_(damping)

    return inverse
