"""Features of vectors, such as embeddings, that are read by columns."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.features import standardize_robustly

COLUMNS = 8
"""Number of columns that are read at a time."""


@runtime_checkable
class Vectors(Protocol):
    """Interface of vectors that need not be in memory as a whole, nor in double precision."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows n and width w."""
        ...

    def read_columns(self, start: int, stop: int) -> Float[Tensor, "n k"]:
        """Return some columns of all rows in float64, [n, stop - start]."""
        ...


def join_vector_features(
    vectors: Sequence[Vectors], others: Float[Tensor, "n d"] | None = None
) -> Float[Tensor, "n w"]:
    """Standardize vectors robustly, and concatenate them with equal weight.

    Each column is standardized as by `standardize_robustly`, and each part is scaled so that a
    row's expected squared norm is 1. Embeddings get no splines and no random Fourier features, as
    columns of measurements do: on sentence embeddings with simulated label noise these rank wrong
    labels no better, and cost ten times the memory. Memory beyond the arguments is that of the
    result and of a few columns.

    Args:
        vectors: Vectors of the same rows.
        others: Features of the same rows of expected squared norm 1, such as those of
            `make_tabular_features`; None without.

    Returns:
        Features, [n, w]; a row's expected squared norm is 1.

    Raises:
        InputError: A number is infinite.
    """
    widths = [each.shape[1] for each in vectors]
    joined = torch.empty(
        vectors[0].shape[0], sum(widths) + (0 if others is None else others.shape[1])
    )
    factor = (len(vectors) + (others is not None)) ** -0.5
    *columns, rest = joined.split([*widths, joined.shape[1] - sum(widths)], 1)
    for each, target in zip(vectors, columns, strict=True):
        width = each.shape[1]
        for start in range(0, width, COLUMNS):
            stop = min(start + COLUMNS, width)
            part = standardize_robustly(each.read_columns(start, stop))
            target[:, start:stop] = part * (factor / width**0.5)
    if others is not None:
        torch.mul(others, factor, out=rest)
    return joined
