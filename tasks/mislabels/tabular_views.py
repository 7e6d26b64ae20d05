"""Features of tables without texts: images, columns of numbers and categories, and vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from fastif.mislabels.features import concat_views, make_tabular_features
from fastif.mislabels.vector_features import join_vector_features
from tasks.data.tabular import Measurements
from tasks.data.vector_column import VectorColumn


@dataclass(frozen=True, eq=False)
class JoinedVectors:
    """Vectors of several tables, one after the other.

    Attributes:
        parts: Vectors of each table, of one width.
    """

    parts: Sequence[VectorColumn]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and width of the vectors."""
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def read_columns(self, start: int, stop: int) -> Tensor:
        """Return some columns of all rows in float64, [n, stop - start]."""
        columns = [part.read_columns(start, stop) for part in self.parts]
        return torch.from_numpy(columns[0] if len(columns) == 1 else np.concatenate(columns))


def make_features(measurements: Sequence[Measurements]) -> Tensor:
    """Return standardized features of the rows of several tables, concatenated in order, [n, w]."""
    # In double precision: large numbers, such as Unix times, may differ by little.
    numbers = torch.from_numpy(np.concatenate([each.numbers for each in measurements]))
    if measurements[0].image:
        return concat_views([numbers.float()])
    columns = zip(*(each.categories for each in measurements), strict=True)
    categories = [list(chain(*column)) for column in columns]
    vectors = [
        JoinedVectors(parts) for parts in zip(*(each.vectors for each in measurements), strict=True)
    ]
    if not vectors:
        return make_tabular_features(numbers, categories)
    has_columns = bool(numbers.shape[1] or categories)
    others = make_tabular_features(numbers, categories) if has_columns else None
    return join_vector_features(vectors, others)


def count_features(measurements: Measurements) -> int:
    """Number of columns of `make_features`, from some of the rows."""
    return make_features([measurements]).shape[1]
