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
from jaxtyping import Float
from torch import Tensor

from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Batch, Examples, all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.combination_check import compare_with_backward, to_dense
from fastif.gradients.gradient_tile import GradientTile, aligned_rows
from fastif.gradients.graph_structure import GraphStructure, read_graph_structure
from fastif.gradients.hooks import GradientOf, HookedPass, LayerGrads, compute_cotangents
from fastif.gradients.route import Route, get_route
from fastif.gradients.row_assembly import assemble_gradients
from fastif.models.batch_invariance import spot_check_batch
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params
from fastif.models.trial import translate_model_errors, try_batch, try_table
from fastif.numerics.out_of_memory import is_out_of_memory

T = TypeVar("T")

LAYER_ERRORS = (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a layer may raise that cannot be mapped over examples: no vmap rule, data in its flow ..."""

MAX_CHECK_SIZE = 2**24
"""Numbers in the rows that are made for a check alone."""


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
        self.route: Route = get_route(objective)
        self._forced: bool | None = None
        dtype = dtype or objective.like.dtype
        self._workspace = aligned_rows(objective.like, 0, objective.space.size, dtype)

    @property
    def per_example_backward(self) -> bool | None:
        """Whether each example takes a backward pass of its own; None while that is open.

        Setting it overrides the route of the objective, and all checks, for these gradients.
        """
        return self.route.per_example_backward if self._forced is None else self._forced

    @per_example_backward.setter
    def per_example_backward(self, forced: bool | None) -> None:
        self._forced = forced

    def compute_loss_tile(self, batch: Batch) -> GradientTile:
        """∇L of every example."""
        return next(self.compute_tiles(batch, "losses"))

    def compute_measure_tile(self, batch: Batch) -> GradientTile:
        """∇ of what is asked of every example; ∇L where the objective has no other measure."""
        return next(self.compute_tiles(batch, "measures"))

    def compute_sqrt_hessian_tiles(self, batch: Batch) -> Iterator[GradientTile]:
        """∇(outputsᵀ s_j) for each column s_j of the loss's curvature root.

        The Gauss-Newton matrix of the batch is the sum of g gᵀ over all rows g of these tiles.
        """
        return self.compute_tiles(batch, "roots")

    def compute_tiles(self, batch: Batch, gradient_of: GradientOf) -> Iterator[GradientTile]:
        """One tile of the losses or of the measures, or one for each column of the root."""
        rows = self._get_workspace(len(batch["labels"]))

        def assemble(layer_grads: LayerGrads) -> GradientTile:
            assemble_gradients(self.objective, layer_grads, rows)
            return GradientTile(rows)

        return self.map_columns(batch, gradient_of, assemble, GradientTile)

    def map_columns(
        self,
        batch: Batch,
        gradient_of: GradientOf,
        on_calls: Callable[[LayerGrads], T],
        on_gradients: Callable[[Tensor], T],
    ) -> Iterator[T]:
        """What a function makes of each column, given the layers' calls or the gradients as rows.

        Args:
            batch: the examples.
            gradient_of: what is pulled back.
            on_calls: given the calls with the gradients at their outputs.
            on_gradients: given rows [b p] where the examples have to be taken one by one.
        """
        num_done, analyzed_pass = 0, self._run_checked(batch)
        if analyzed_pass is not None:
            for cotangent, layer_grads in analyzed_pass.hooked_pass.backpropagate(gradient_of):
                try:
                    if not num_done and not self._verify_tile(
                        analyzed_pass, cotangent, layer_grads, gradient_of
                    ):
                        break
                    result = on_calls(layer_grads)
                except InputError:
                    raise
                except LAYER_ERRORS as error:
                    if is_out_of_memory(error):
                        raise
                    self.route.fall_back(
                        f"a layer cannot be mapped over examples: {_first_line(error)}"
                    )
                    break
                num_done += 1
                yield result
            else:
                return
        del analyzed_pass  # its graph
        rows = self._get_workspace(len(batch["labels"]))
        for _ in islice(
            _fill_by_backward(self.objective, batch, gradient_of, rows), num_done, None
        ):
            yield on_gradients(rows)

    def uses_hooks(self, batch: Batch) -> bool:
        """Whether gradients come from forward hooks.

        Found out on the first batch that can tell; False until then.
        """
        if self.per_example_backward is None:
            self.compute_loss_tile(batch)
        return self.per_example_backward is False

    def _run_checked(self, batch: Batch) -> "_AnalyzedPass | None":
        """`_run_with_hooks` after a trial of the batch; outputs of a row alone are compared."""
        try_batch(self.objective, batch)
        with translate_model_errors(self.objective):
            analyzed_pass = self._run_with_hooks(batch)
            outputs = None if analyzed_pass is None else analyzed_pass.hooked_pass.outputs
            spot_check_batch(self.objective, batch, outputs)
        return analyzed_pass

    def _run_with_hooks(self, batch: Batch) -> "_AnalyzedPass | None":
        """A forward pass with hooks, and what its graph says; None where there is no use in it.

        An example by itself cannot tell rows of the batch from tables that all examples share, and
        a backward pass of its own costs no more.
        """
        if self._forced is False:
            return _AnalyzedPass(HookedPass.run(self.objective, batch), None)
        if self.per_example_backward or len(batch["labels"]) == 1:
            return None
        hooked_pass = HookedPass.run(self.objective, batch)
        structure = read_graph_structure(hooked_pass)
        if structure.unsupported:
            self.route.fall_back(structure.unsupported)
            return None
        return _AnalyzedPass(hooked_pass, structure)

    def _verify_tile(
        self,
        analyzed_pass: "_AnalyzedPass",
        cotangent: Tensor,
        layer_grads: LayerGrads,
        gradient_of: GradientOf,
    ) -> bool:
        """Whether the tile agrees with a backward pass, or need not be looked at."""
        hooked_pass, structure = analyzed_pass.hooked_pass, analyzed_pass.structure
        if structure is None:
            return True
        if not self.route.is_due(structure):
            self.route.record_unchecked(structure)
            return True
        rows = self._get_workspace(self._count_checked_rows(len(hooked_pass.outputs)))
        assemble_gradients(self.objective, _select_first(layer_grads, len(rows)), rows)
        comparison = compare_with_backward(
            hooked_pass, cotangent, gradient_of, rows, self.route.num_tiles
        )
        if comparison.parameter:
            distance = f"{comparison.gap:.1g} of their length in {comparison.parameter}"
            self.route.record_failure(
                structure, f"a backward pass gives other gradients, by {distance}"
            )
            return False
        self.route.record_pass(comparison.decisive)
        return True

    def _count_checked_rows(self, count: int) -> int:
        """How many rows of a tile are compared: whoever needs no rows is not given all of them."""
        max_rows = max(2, len(self._workspace), MAX_CHECK_SIZE // self.objective.space.size)
        return min(count, max_rows)

    def _get_workspace(self, count: int) -> Float[Tensor, "b p"]:
        if len(self._workspace) < count:
            self._workspace = aligned_rows(self._workspace, count, self.objective.space.size)
        return self._workspace[:count]


@dataclass(frozen=True, eq=False)
class _AnalyzedPass:
    """A forward pass with hooks; without a structure it is taken as it is."""

    hooked_pass: HookedPass
    structure: GraphStructure | None


def _select_first(layer_grads: LayerGrads, count: int) -> LayerGrads:
    """What the calls say of the first examples."""
    return [
        (replace(call, inputs=call.inputs[:count], outputs=call.outputs[:count]), delta[:count])
        for call, delta in layer_grads
    ]


def _first_line(error: Exception) -> str:
    """The first line of an error."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def compute_loss_gradients(
    gradients: Gradients, examples: ExamplesLike, ids: Ids | None = None
) -> Float[Tensor, "m p"]:
    """∇L of the given examples as rows, in the order of `ids`; of all of them if left out."""
    try_table(gradients.objective, examples, "examples")
    return _compute_in_order(gradients, gradients.compute_loss_tile, examples, ids)


def compute_measure_gradients(
    gradients: Gradients, queries: ExamplesLike, ids: Ids | None = None
) -> Float[Tensor, "q p"]:
    """∇ of what is asked of these queries, all by default: the right-hand sides of their solves."""
    try_table(gradients.objective, queries, "queries", gradients.objective.query_measure)
    return _compute_in_order(gradients, gradients.compute_measure_tile, queries, ids)


def _compute_in_order(
    gradients: Gradients,
    compute_tile: Callable[[Batch], GradientTile],
    examples: Examples,
    ids: Ids | None,
) -> Tensor:
    ids = all_ids(examples) if ids is None else as_ids(ids, len(examples))
    rows = gradients.objective.like.new_empty(len(ids), gradients.objective.space.size)
    for places, batch in examples.batches(ids):
        rows[places] = compute_tile(batch).gradients
    return rows


def _fill_by_backward(
    objective: Objective, batch: Batch, gradient_of: GradientOf, rows: Tensor
) -> Iterator[None]:
    """The same by a backward pass an example and column."""
    params = make_leaf_params(objective.params)
    graphs = []
    for index in range(len(rows)):
        example = {key: tensor[index : index + 1] for key, tensor in batch.items()}
        with translate_model_errors(objective), torch.enable_grad():
            outputs = objective.outputs(params, example)
        graphs.append((outputs, list(compute_cotangents(objective, outputs, example, gradient_of))))
    for column in range(len(graphs[0][1])):
        for row, (outputs, cotangent_columns) in zip(rows, graphs, strict=True):
            if not outputs.requires_grad:
                row.zero_()  # the model uses none of the parameters
                continue
            grads = torch.autograd.grad(
                outputs,
                tuple(params.values()),
                cotangent_columns[column],
                retain_graph=True,
                materialize_grads=True,
            )
            torch.cat([to_dense(tensor).flatten() for tensor in grads], out=row)
        yield
