"""Per-example gradients, taken a tile at a time and multiplied with many rows at once.

One backward pass over a tile gives, for every layer that owns attributed parameters, the layer's
input and the gradient at its output; from these two the gradient of each example follows without a
backward pass of its own. No double backward and no vmap over the model is needed, so any attention
kernel works. Where layers do not see the rows of the batch in their order, or parameters act in
another way, examples are taken one by one: the graph of every tile is read for that, and a random
combination of the rows of some tiles is compared with an ordinary backward pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Batch, Examples, batches
from fastif.data.torch_forms import Given
from fastif.errors import InputError
from fastif.gradients.combination_check import compare, dense
from fastif.gradients.graph_structure import Structure, structure_of
from fastif.gradients.hooks import (
    Heard,
    Pass,
    Pulled,
    cotangents,
    leaves,
)
from fastif.gradients.route import Route, route_of
from fastif.gradients.row_assembly import collect
from fastif.models.batch_invariance import try_crowd
from fastif.models.objective import Objective
from fastif.models.trial import foreign, try_batch, try_table
from fastif.numerics.blocked_dot import inner_products
from fastif.numerics.out_of_memory import is_out_of_memory

T = TypeVar("T")

UNFIT = (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a layer may raise that cannot be mapped over examples: no vmap rule, data in its flow ..."""

LARGEST_CHECK = 2**24
"""Numbers in the rows that are made for a check alone."""

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

    A tile is taken by forward hooks where its graph allows, and checked as `Route` says; where it
    does not allow or the check fails, that tile and all later ones are taken by a backward pass an
    example, of all who ask this objective. One workspace serves all tiles: to ask for fresh memory
    each time costs more than to fill it.

    Args:
        objective: whose gradients are taken.
        dtype: of the workspace, such as torch.bfloat16; that of the parameters if left out.
    """

    def __init__(self, objective: Objective, dtype: torch.dtype | None = None) -> None:
        self.objective = objective
        self.route: Route = route_of(objective)
        self._forced: bool | None = None
        dtype = dtype or objective.like.dtype
        self._workspace = spaced_rows(objective.like, 0, objective.space.size, dtype)

    @property
    def one_by_one(self) -> bool | None:
        """Whether each example takes a backward pass of its own; None while that is open.

        Setting it overrides the route of the objective, and all checks, for these gradients.
        """
        return self.route.one_by_one if self._forced is None else self._forced

    @one_by_one.setter
    def one_by_one(self, forced: bool | None) -> None:
        self._forced = forced

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
        rows = self._rows(len(batch["labels"]))

        def filled(heard: Heard) -> Tile:
            collect(self.objective, heard, rows)
            return Tile(rows)

        return self.taken(batch, of, filled, Tile)

    def taken(
        self,
        batch: Batch,
        of: Pulled,
        by_calls: Callable[[Heard], T],
        by_rows: Callable[[Tensor], T],
    ) -> Iterator[T]:
        """What a function makes of each column, given the layers' calls or the gradients as rows.

        Args:
            batch: the examples.
            of: what is pulled back.
            by_calls: given the calls with the gradients at their outputs.
            by_rows: given rows [b p] where the examples have to be taken one by one.
        """
        try_batch(self.objective, batch)
        with foreign(self.objective):
            done, opened = 0, self._opened(batch)
            try_crowd(self.objective, batch, None if opened is None else opened.made.outputs)
        if opened is not None:
            for cotangent, heard in opened.made.columns(of):
                try:
                    if not done and not self._holds(opened, cotangent, heard, of):
                        break
                    found = by_calls(heard)
                except InputError:
                    raise
                except UNFIT as error:
                    if is_out_of_memory(error):
                        raise
                    self.route.fall_back(f"a layer cannot be mapped over examples: {_line(error)}")
                    break
                done += 1
                yield found
            else:
                return
        del opened  # its graph
        rows = self._rows(len(batch["labels"]))
        for _ in islice(_fill_one_by_one(self.objective, batch, of, rows), done, None):
            yield by_rows(rows)

    def listens(self, batch: Batch) -> bool:
        """Whether gradients come from forward hooks.

        Found out on the first batch that can tell; False until then.
        """
        if self.one_by_one is None:
            self.of_losses(batch)
        return self.one_by_one is False

    def _opened(self, batch: Batch) -> "_Opened | None":
        """A forward pass with hooks, and what its graph says; None where there is no use in it.

        An example by itself cannot tell rows of the batch from tables that all examples share, and
        a backward pass of its own costs no more.
        """
        if self._forced is False:
            return _Opened(Pass.run(self.objective, batch), None)
        if self.one_by_one or len(batch["labels"]) == 1:
            return None
        made = Pass.run(self.objective, batch)
        structure = structure_of(made)
        if structure.objection:
            self.route.fall_back(structure.objection)
            return None
        return _Opened(made, structure)

    def _holds(self, opened: "_Opened", cotangent: Tensor, heard: Heard, of: Pulled) -> bool:
        """Whether the tile agrees with a backward pass, or need not be looked at."""
        made, structure = opened.made, opened.structure
        if structure is None:
            return True
        if not self.route.is_due(structure):
            self.route.left_unchecked(structure)
            return True
        rows = self._rows(self._checked(len(made.outputs)))
        collect(self.objective, _first(heard, len(rows)), rows)
        compared = compare(made, cotangent, of, rows, self.route.tiles)
        if compared.parameter:
            away = f"{compared.gap:.1g} of their length in {compared.parameter}"
            self.route.failed(structure, f"a backward pass gives other gradients, by {away}")
            return False
        self.route.passed(compared.decisive)
        return True

    def _checked(self, count: int) -> int:
        """How many rows of a tile are compared: whoever needs no rows is not given all of them."""
        room = max(2, len(self._workspace), LARGEST_CHECK // self.objective.space.size)
        return min(count, room)

    def _rows(self, count: int) -> Float[Tensor, "b p"]:
        if len(self._workspace) < count:
            self._workspace = spaced_rows(self._workspace, count, self.objective.space.size)
        return self._workspace[:count]


@dataclass(frozen=True, eq=False)
class _Opened:
    """A forward pass with hooks; without a structure it is taken as it is."""

    made: Pass
    structure: Structure | None


def _first(heard: Heard, count: int) -> Heard:
    """What the calls say of the first examples."""
    return [
        (replace(call, inputs=call.inputs[:count], outputs=call.outputs[:count]), delta[:count])
        for call, delta in heard
    ]


def _line(error: Exception) -> str:
    """The first line of an error."""
    return next(iter(str(error).splitlines()), type(error).__name__)


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
    gradients: Gradients, examples: Given, ids: Ids, batch_size: int
) -> Float[Tensor, "m p"]:
    """∇L of the given examples as rows, in the order of `ids`."""
    try_table(gradients.objective, examples, "examples")
    ids = as_ids(ids, len(examples))
    return _rows(gradients, gradients.of_losses, examples, ids, batch_size)


def measure_rows(
    gradients: Gradients, queries: Given, ids: Ids, batch_size: int
) -> Float[Tensor, "q p"]:
    """∇ of what is asked of the given queries as rows: the right-hand sides of their solves."""
    try_table(gradients.objective, queries, "queries", gradients.objective.asked)
    ids = as_ids(ids, len(queries))
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
        with foreign(objective), torch.enable_grad():
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
            torch.cat([dense(tensor).flatten() for tensor in found], out=row)
        yield
