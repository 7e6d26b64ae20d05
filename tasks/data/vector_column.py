"""Column of long lists of numbers, such as embeddings, that is selected and read by parts."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MIN_WIDTH = 32
"""Least number of numbers of a list that is a vector; shorter ones are single columns."""
TILE_ROWS = 16_384
"""Number of vectors that are checked at a time."""


@dataclass(frozen=True, eq=False)
class VectorColumn:
    """Vectors of a table; a selection of rows shares the memory of all.

    Attributes:
        values: Numbers of all vectors, float32 or float64, [N, w]; NaN for missing ones.
        rows: Positions of the selected rows, [n]; None for all.
    """

    values: np.ndarray
    rows: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of selected rows, and width of the vectors."""
        rows = len(self.values) if self.rows is None else len(self.rows)
        return rows, self.values.shape[1]

    def __getitem__(self, position: int) -> np.ndarray:
        """Return a selected vector, [w]."""
        return self.values[position if self.rows is None else self.rows[position]]

    def take(self, rows: Sequence[int]) -> "VectorColumn":
        """Select rows by position, in this order."""
        positions = np.asarray(rows, dtype=np.int64)
        return VectorColumn(self.values, positions if self.rows is None else self.rows[positions])

    def describe(self) -> list[str]:
        """Describe each vector by its length and a digest of its numbers in double precision."""
        digests = (hashlib.sha256(row.astype(np.float64).tobytes()) for row in self.values)
        words = f"{self.values.shape[1]} numbers"
        return [f"[{words}, {digest.hexdigest()[:12]}]" for digest in digests]

    def is_constant(self) -> bool:
        """Whether all vectors are equal; missing numbers equal each other."""
        first = self.values[:1]
        return all(
            np.array_equal(part, np.broadcast_to(first, part.shape), equal_nan=True)
            for part in self._iterate_tiles()
        )

    def find_infinite(self) -> list[int]:
        """Positions of the vectors with an infinite number."""
        tiles = enumerate(self._iterate_tiles())
        return [
            number * TILE_ROWS + int(row)
            for number, tile in tiles
            for row in np.flatnonzero(np.isinf(tile).any(1))
        ]

    def count_missing(self) -> int:
        """Number of vectors with a missing number."""
        return sum(int(np.isnan(tile).any(1).sum()) for tile in self._iterate_tiles())

    def _iterate_tiles(self) -> Iterator[np.ndarray]:
        starts = range(0, len(self.values), TILE_ROWS)
        return (self.values[start : start + TILE_ROWS] for start in starts)

    def read_columns(self, start: int, stop: int) -> np.ndarray:
        """Return some columns of the selected rows in float64, [n, stop - start]."""
        part = self.values[:, start:stop]
        selected = part if self.rows is None else part[self.rows]
        return np.array(selected, dtype=np.float64, order="C")
