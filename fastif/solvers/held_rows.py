"""Factor rows of several batches in memory, against which all later ones are multiplied."""

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import FactoredOperator
from fastif.gradients.gradient_tile import GradientTile, aligned_rows
from fastif.gradients.structured_tile import StructuredTile


class HeldRows:
    """Factor rows of as many batches as fit into the memory of a number of formed ones.

    Formed rows are copied into one matrix, because one product is the fastest. Structured tiles
    take far less memory, so that all batches often fit.

    Args:
        factored: Curvature with the factor V.
        held_batches: Number of batches of formed rows to hold.
    """

    def __init__(self, factored: FactoredOperator, held_batches: int) -> None:
        self._factored = factored
        self._row_bytes = factored.size * factored.like.element_size()
        batch_rows = factored.batch_size * factored.rows_per_example
        self._batch_bytes = batch_rows * self._row_bytes
        self._max_bytes = held_batches * self._batch_bytes
        self._max_rows = min(held_batches * batch_rows, factored.count * factored.rows_per_example)
        self._workspace: Float[Tensor, "h p"] | None = None

    def hold(self, first: int) -> tuple[list[GradientTile], int]:
        """Hold the rows of some batches; those held before may be overwritten.

        Args:
            first: Index of the first batch.

        Returns:
            Tiles in the order of their rows, and the index of the first batch that is not held.
        """
        tiles: list[GradientTile] = []
        start = count = factor_bytes = 0  # formed rows from `start` on are in no tile yet
        batch_index = first
        while batch_index < self._factored.num_batches:
            held_bytes = factor_bytes + count * self._row_bytes
            if batch_index > first and held_bytes + self._batch_bytes > self._max_bytes:
                break
            for tile in self._factored.merge_factor_rows(batch_index):
                if isinstance(tile, StructuredTile) and not tile.is_formed:
                    tiles += [*self._take_formed(start, count), tile.copy()]
                    factor_bytes, start = factor_bytes + tile.byte_count, count
                else:
                    count = self._copy(tile, count)
            batch_index += 1
        return [*tiles, *self._take_formed(start, count)], batch_index

    def _copy(self, tile: GradientTile, start: int) -> int:
        if self._workspace is None:
            self._workspace = aligned_rows(self._factored.like, self._max_rows, self._factored.size)
        stop = start + len(tile)
        self._workspace[start:stop] = tile.gradients
        return stop

    def _take_formed(self, start: int, stop: int) -> list[GradientTile]:
        if self._workspace is None or start == stop:
            return []
        return [GradientTile(self._workspace[start:stop])]
