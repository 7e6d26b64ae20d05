"""Tile of per-example gradients as factors of outer products, where layers have this structure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.outer_products import OuterProducts, join_columns, join_examples
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.blocked_dot import pairwise_dots

MAX_MERGED_BYTES = 2**27
"""Memory of the tiles of one batch that are merged into one tile."""


@dataclass(frozen=True)
class TileLayout:
    """Layout of structured gradients of p numbers.

    Attributes:
        size: Number p of parameters.
        layers: Names of the layers with outer products.
        remaining: Columns of all other parameters, in order.
    """

    size: int
    layers: tuple[str, ...]
    remaining: tuple[slice, ...]

    @property
    def remaining_size(self) -> int:
        """Number of parameters outside of the layers with outer products."""
        return sum(columns.stop - columns.start for columns in self.remaining)

    def pair_columns(self) -> Iterator[tuple[slice, slice]]:
        """Iterate over the remaining columns in a gradient and in the matrix of these alone."""
        start = 0
        for columns in self.remaining:
            stop = start + columns.stop - columns.start
            yield columns, slice(start, stop)
            start = stop


class StructuredTile(GradientTile):
    """Gradients of b examples, of which those of some layers are held as factors.

    The operations are those of `GradientTile`, with equal results up to rounding. No tile
    overwrites another. A use of `gradients` forms them, and the tile has this matrix from then on.

    Args:
        layout: Layout of the gradients.
        layers: Outer products of each layer, or of each group of a convolution, by name.
        dense: Gradients in the remaining parameters.
    """

    def __init__(
        self, layout: TileLayout, layers: dict[str, OuterProducts], dense: Float[Tensor, "b m"]
    ) -> None:
        self.layout, self.layers, self.dense = layout, layers, dense
        self._formed: Float[Tensor, "b p"] | None = None

    @property
    def gradients(self) -> Float[Tensor, "b p"]:
        if self._formed is None:
            self._formed = self.form()
        return self._formed

    @property
    def is_formed(self) -> bool:
        """Whether `gradients` has been used, so that they may have been changed."""
        return self._formed is not None

    def form(self) -> Float[Tensor, "b p"]:
        """Return a new matrix of the gradients."""
        rows = self.dense.new_empty(len(self), self.layout.size)
        for columns, own in self.layout.pair_columns():
            rows[:, columns] = self.dense[:, own]
        for layer in self.layers.values():
            layer.write(rows)
        return rows

    @property
    def dtype(self) -> torch.dtype:
        return self.dense.dtype

    @property
    def byte_count(self) -> int:
        factors = sum(layer.byte_count for layer in self.layers.values())
        formed = 0 if self._formed is None else self._formed.numel()
        return factors + (self.dense.numel() + formed) * self.dense.element_size()

    @property
    def product_size(self) -> float:
        if self.is_formed:
            return super().product_size
        return self.dense.shape[1] + sum(layer.product_size for layer in self.layers.values())

    def __len__(self) -> int:
        return len(self.dense)

    def dot(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        if self.is_formed:
            return super().dot(vectors)
        total = upcast_half(vectors.new_zeros(len(vectors), len(self)))
        for columns, own in self.layout.pair_columns():
            total += pairwise_dots(vectors[:, columns], self.dense[:, own])
        for layer in self.layers.values():
            total += layer.dot(vectors)
        return total

    def accumulate(self, totals: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        if self.is_formed:
            super().accumulate(totals, weights)
            return
        for columns, own in self.layout.pair_columns():
            totals[:, columns].addmm_(weights, self.dense[:, own])
        for layer in self.layers.values():
            layer.accumulate(totals, weights)

    def products(self, other: GradientTile) -> Float[Tensor, "b m"]:
        if not isinstance(other, StructuredTile) or other.is_formed or self.is_formed:
            return self.dot(other.gradients).T
        if self.layout != other.layout:  # held tiles must not keep the matrix
            return self.dot(other.form()).T
        total = pairwise_dots(self.dense, other.dense)
        for name, layer in self.layers.items():
            layer.add_products(other.layers[name], total)
        return total

    def norms(self) -> Float[Tensor, " b"]:
        return super().norms() if self.is_formed else self._sum_squares().sqrt().to(self.dense)

    def squared_norms(self) -> Float[Tensor, " b"]:
        return super().squared_norms() if self.is_formed else self._sum_squares().to(self.dense)

    def _sum_squares(self) -> Float[Tensor, " b"]:
        total = self.dense.double().square().sum(1)
        for layer in self.layers.values():
            total += sum(layer.squared_norms())
        return total

    def parameter_norms(self, slices: Sequence[slice]) -> list[Float[Tensor, " b"]]:
        if self.is_formed:
            return super().parameter_norms(slices)
        squares: dict[int, Tensor] = {}
        for layer in self.layers.values():
            for columns, own in zip((layer.weight, layer.bias), layer.squared_norms(), strict=True):
                if columns is not None:
                    squares[columns.start] = own
        return [self._combine_norms(columns, squares) for columns in slices]

    def _combine_norms(self, columns: slice, squares: dict[int, Tensor]) -> Float[Tensor, " b"]:
        """Return the norms in one parameter, of which the groups of a convolution are parts."""
        parts = [own for start, own in squares.items() if columns.start <= start < columns.stop]
        if parts:
            return torch.stack(parts).sum(0).sqrt().float()
        for run, own in self.layout.pair_columns():
            if run.start <= columns.start < run.stop:
                start = own.start + columns.start - run.start
                span = slice(start, start + columns.stop - columns.start)
                return self.dense[:, span].float().norm(dim=1)
        raise ValueError(f"{columns} are not the columns of a parameter")

    def finite_mask(self) -> Bool[Tensor, " b"]:
        if self.is_formed:
            return super().finite_mask()
        masks = [layer.finite_rows() for layer in self.layers.values()]
        return torch.stack([torch.isfinite(self.dense).all(1), *masks]).all(0)

    def zero_nonfinite(self) -> Bool[Tensor, " b"]:
        if self.is_formed:
            return super().zero_nonfinite()
        nonfinite = ~torch.isfinite(self.dense.norm(dim=1))
        if bool(nonfinite.any()):
            self.dense[nonfinite] = 0
            zeroed = {name: layer.zero_rows(nonfinite) for name, layer in self.layers.items()}
            self.layers = zeroed
        return nonfinite

    def select(self, positions: Int[Tensor, " m"]) -> GradientTile:
        if self.is_formed:
            return super().select(positions)
        layers = {name: layer.select(positions) for name, layer in self.layers.items()}
        return StructuredTile(self.layout, layers, self.dense[positions])

    def copy(self) -> "StructuredTile":
        """Return a copy, which keeps no larger tensor of which a factor is a part."""
        layers = {name: layer.copy() for name, layer in self.layers.items()}
        return StructuredTile(self.layout, layers, self.dense)

    def to_one_column(self) -> "StructuredTile":
        """Return the same rows as one column, with the inputs repeated for each."""
        positions = torch.arange(len(self), device=self.dense.device)
        layers = {
            name: layer if len(layer.deltas) == 1 else layer.select(positions)
            for name, layer in self.layers.items()
        }
        return StructuredTile(self.layout, layers, self.dense)


def merge_columns(tiles: Iterable[GradientTile]) -> Iterator[GradientTile]:
    """Merge the structured tiles of the columns of one batch, which share the layers' inputs.

    The rows keep their order. Tiles without structure are yielded as they come, because each is
    overwritten by the next.
    """
    held: list[StructuredTile] = []
    for tile in tiles:
        if held and not _continues(held, tile):
            yield _join(held, join_columns)
            held = []
        if isinstance(tile, StructuredTile) and not tile.is_formed:
            held.append(tile)
        else:
            yield tile
    if held:
        yield _join(held, join_columns)


def concat_rows(tiles: Sequence[GradientTile]) -> GradientTile:
    """Return the rows of some tiles as one tile, of one column.

    It is structured if all tiles are, and their layers have equal numbers of positions.

    Args:
        tiles: Tiles that no other tile overwrites, such as those of `select`.
    """
    structured = [tile for tile in tiles if isinstance(tile, StructuredTile) and not tile.is_formed]
    if len(structured) < len(tiles) or len({_describe_shape(tile) for tile in structured}) > 1:
        return GradientTile(torch.cat([_copy_matrix(tile) for tile in tiles]))
    return _join([tile.to_one_column() for tile in structured], join_examples)


def _copy_matrix(tile: GradientTile) -> Float[Tensor, "b p"]:
    return (
        tile.form() if isinstance(tile, StructuredTile) and not tile.is_formed else tile.gradients
    )


def _continues(held: Sequence[StructuredTile], tile: GradientTile) -> bool:
    """Whether a tile is the next column of the same batch, and its memory is permitted."""
    first = held[0]
    return (
        isinstance(tile, StructuredTile)
        and not tile.is_formed
        and tile.layout == first.layout
        and all(layer.is_same_pass(first.layers[name]) for name, layer in tile.layers.items())
        and (len(held) + 1) * tile.byte_count <= MAX_MERGED_BYTES
    )


def _describe_shape(tile: StructuredTile) -> Hashable:
    """Return what decides the layout of an objective's tiles, and the numbers of positions."""
    return tuple((name, layer.inputs.shape[1]) for name, layer in tile.layers.items())


def _join(
    tiles: Sequence[StructuredTile], join: Callable[[Sequence[OuterProducts]], OuterProducts]
) -> StructuredTile:
    if len(tiles) == 1:
        return tiles[0]
    first = tiles[0]
    layers = {name: join([tile.layers[name] for tile in tiles]) for name in first.layers}
    return StructuredTile(first.layout, layers, torch.cat([tile.dense for tile in tiles]))
