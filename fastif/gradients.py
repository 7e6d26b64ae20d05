"""Per-example gradients, taken a tile at a time and multiplied with many rows at once.

One backward pass over a tile gives, for every layer that owns attributed parameters, the layer's
input and the gradient at its output; from these two the gradient of each example follows without a
backward pass of its own. No double backward and no vmap over the model is needed, so any attention
kernel works. A model whose layers do not treat the first axis as the example (weights applied to
shared tables, say) is recognised on first use, and its examples are then taken one by one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.examples import Batch, Examples, batches
from fastif.inner import inner_products
from fastif.listening import Pulled, cotangents, fill_by_listening, leaves, used_outside
from fastif.objective import Objective

SPACING = 64
"""A multiple of 16 bytes in any precision: tensor cores read matrices of other strides slowly."""


@dataclass(frozen=True, eq=False)
class Tile:
    """The gradients of b examples, as rows. They stand in a workspace: use before the next tile.

    Attributes:
        rows: one gradient a row.
    """

    rows: Float[Tensor, "b p"]

    def __len__(self) -> int:
        return len(self.rows)

    def times(self, rows: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        """Inner product of every row with every gradient of the tile."""
        return inner_products(rows, self.rows)

    def add_to(self, rows: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        """Rows += weights @ gradients, in place."""
        rows.addmm_(weights, self.rows)

    def finite(self) -> Bool[Tensor, " b"]:
        """Which gradients are free of NaN and infinity."""
        return torch.isfinite(self.rows).all(1)


class Gradients:
    """Tiles of per-example gradients of an objective.

    The first tile is checked against gradients taken one example at a time; where they disagree,
    all later tiles are taken that way. One workspace serves all tiles: to ask for fresh memory each
    time costs more than to fill it.

    Args:
        objective: whose gradients are taken.
        dtype: of the workspace, such as torch.bfloat16; that of the parameters if left out.
    """

    def __init__(self, objective: Objective, dtype: torch.dtype | None = None) -> None:
        self.objective = objective
        self.one_by_one: bool | None = None
        dtype = dtype or objective.like.dtype
        self._workspace = spaced_rows(objective.like, 0, objective.space.size, dtype)

    def of_losses(self, batch: Batch) -> Tile:
        """∇L of every example."""
        return next(self.tiles(batch, "losses"))

    def of_measures(self, batch: Batch) -> Tile:
        """∇ of what is asked of every example; ∇L where the objective has no other measure."""
        return next(self.tiles(batch, "measures"))

    def of_roots(self, batch: Batch) -> Iterator[Tile]:
        """∇(outputsᵀ s_j) for each column s_j of the loss's curvature root.

        The Gauss-Newton matrix of the batch is the sum of g gᵀ over all rows g of these tiles.
        """
        return self.tiles(batch, "roots")

    def tiles(self, batch: Batch, of: Pulled) -> Iterator[Tile]:
        """One tile of the losses or of the measures, or one for each column of the root."""
        take = fill_by_listening if self.listens(batch) else _fill_one_by_one
        rows = self._rows(len(batch["labels"]))
        for _ in take(self.objective, batch, of, rows):
            yield Tile(rows)

    def listens(self, batch: Batch) -> bool:
        """Whether gradients come from listening to layers.

        Found out on the first batch that can tell; False until then.
        """
        if self.one_by_one is None:
            exact = _listening_is_exact(self.objective, batch)
            self.one_by_one = None if exact is None else not exact
        return self.one_by_one is False

    def _rows(self, count: int) -> Float[Tensor, "b p"]:
        if len(self._workspace) < count:
            self._workspace = spaced_rows(self._workspace, count, self.objective.space.size)
        return self._workspace[:count]


def spaced_rows(
    like: Tensor, count: int, size: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "count size"]:
    """A matrix not yet filled, whose rows begin at multiples of `SPACING` numbers.

    >>> spaced_rows(torch.empty(0), 3, 10).stride()
    (64, 1)
    """
    width = -(-size // SPACING) * SPACING
    return like.new_empty(count, width, dtype=dtype or like.dtype)[:, :size]


def gradient_rows(
    gradients: Gradients, examples: Examples, ids: Int[Tensor, " m"], batch_size: int
) -> Float[Tensor, "m p"]:
    """∇L of the given examples as rows, in the order of `ids`."""
    return _rows(gradients, gradients.of_losses, examples, ids, batch_size)


def measure_rows(
    gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"], batch_size: int
) -> Float[Tensor, "q p"]:
    """∇ of what is asked of the given queries as rows: the right-hand sides of their solves."""
    return _rows(gradients, gradients.of_measures, queries, ids, batch_size)


def _rows(
    gradients: Gradients,
    take: Callable[[Batch], Tile],
    examples: Examples,
    ids: Tensor,
    batch_size: int,
) -> Tensor:
    rows = gradients.objective.like.new_empty(len(ids), gradients.objective.space.size)
    for places, batch in batches(examples, ids, batch_size):
        rows[places] = take(batch).rows
    return rows


def _fill_one_by_one(
    objective: Objective, batch: Batch, of: Pulled, rows: Tensor
) -> Iterator[None]:
    """The same by a backward pass an example and column."""
    params = leaves(objective)
    graphs = []
    for index in range(len(rows)):
        single = {key: tensor[index : index + 1] for key, tensor in batch.items()}
        with torch.enable_grad():
            outputs = objective.outputs(params, single)
        graphs.append((outputs, list(cotangents(objective, outputs, single, of))))
    for column in range(len(graphs[0][1])):
        for row, (outputs, pulls) in zip(rows, graphs, strict=True):
            if not outputs.requires_grad:
                row.zero_()  # the model uses none of the parameters
                continue
            found = torch.autograd.grad(
                outputs,
                tuple(params.values()),
                pulls[column],
                retain_graph=True,
                materialize_grads=True,
            )
            torch.cat([tensor.flatten() for tensor in found], out=row)
        yield


def _listening_is_exact(objective: Objective, batch: Batch) -> bool | None:
    """Whether listening gives on two examples what two separate backward passes give.

    None if neither has a finite gradient, so that the question is left to the next batch.
    """
    few = {key: tensor[:2] for key, tensor in batch.items()}
    expected = objective.like.new_empty(len(few["labels"]), objective.space.size)
    heard = torch.full_like(expected, torch.nan)  # what is left unfilled must not pass
    for _ in _fill_one_by_one(objective, few, "losses", expected):
        pass
    finite = Tile(expected).finite()
    if not bool(finite.any()):
        return None
    try:
        if used_outside(objective, few):
            return False
        for _ in fill_by_listening(objective, few, "losses", heard):
            pass
    except (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False  # a layer with several inputs or outputs, in-place changes, no vmap rule ...
    # A hundred units in the last place of the largest entry of all, not of each parameter's own:
    # the gradient of an attention key's bias is zero but for rounding.
    heard, expected = heard[finite], expected[finite]
    noise = 100 * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    return torch.allclose(heard, expected, rtol=1e-3, atol=noise)
