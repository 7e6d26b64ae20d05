"""Per-example gradients in tiles, by forward hooks with checks, or by separate backward passes.

One backward pass over a batch gives the input and the output gradient of every layer with
attributed parameters. From these two the gradient of each example follows, without double backward
and without vmap over the model, so every attention kernel works. If a layer is not called on the
rows of the batch in order, or a parameter is used in another way, examples take one backward pass
each. The graph of every batch is analysed for this, and a random combination of the gradients of
some tiles is compared with a backward pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Batch, Examples, all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.combination_check import compare_with_backward
from fastif.gradients.gradient_tile import GradientTile, aligned_rows
from fastif.gradients.graph_structure import GraphStructure, read_graph_structure
from fastif.gradients.hooks import GradientOf, HookedPass, LayerGrads
from fastif.gradients.route import Route, get_route
from fastif.gradients.row_assembly import assemble_gradients, fill_by_backward
from fastif.gradients.tile_structure import FactorInputs, make_structured_tile
from fastif.models.batch_invariance import spot_check_batch
from fastif.models.objective import Objective
from fastif.models.trial import translate_model_errors, try_batch, try_table
from fastif.numerics.out_of_memory import is_out_of_memory
from fastif.numerics.precision import BF16, SINGLE, Precision

T = TypeVar("T")

LAYER_ERRORS = (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""Errors of a layer under vmap: no batching rule, or control flow that depends on data."""

MAX_CHECK_SIZE = 2**24
"""Numbers in the gradients that are computed for a check alone."""


class Gradients:
    """Per-example gradients of an objective, in tiles [b p] of a batch.

    Forward hooks and one backward pass for each batch give all gradients where the autograd graph
    allows it, with checks by `Route`. If the graph does not allow it, or a check fails, this tile
    and all later ones of the objective take one backward pass for each example. One workspace holds
    all tiles, because allocating memory costs more than filling it.

    Args:
        objective: Trained model with its loss; its attributed parameters are the p columns.
        precision: Precision of the passes; with "bf16" the gradients are held in bfloat16 too.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> examples = TensorExamples(torch.eye(2), torch.ones(2, 1))
        >>> batch = examples.take(torch.arange(2))
        >>> gradients = Gradients(ModuleObjective(model, SquaredError()))
        >>> gradients.compute_loss_tile(batch).gradients + 0.0  # 2 (w·x - y) x
        tensor([[-2.,  0.],
                [ 0., -2.]])
    """

    def __init__(self, objective: Objective, precision: Precision = SINGLE) -> None:
        self.objective = objective
        self.precision: Precision = precision
        self.route: Route = get_route(objective)
        self._forced: bool | None = None
        dtype = torch.bfloat16 if precision == BF16 else objective.like.dtype
        self._workspace = aligned_rows(objective.like, 0, objective.space.size, dtype)

    @property
    def per_example_backward(self) -> bool | None:
        """Whether each example takes its own backward pass; None while that is undecided.

        Setting it overrides the route of the objective, and all checks, for these gradients.
        """
        return self.route.per_example_backward if self._forced is None else self._forced

    @per_example_backward.setter
    def per_example_backward(self, forced: bool | None) -> None:
        self._forced = forced

    def compute_loss_tile(self, batch: Batch) -> GradientTile:
        """Compute the gradient ∇L of the training loss of every example in a batch."""
        return next(self.compute_tiles(batch, "losses"))

    def compute_measure_tile(self, batch: Batch) -> GradientTile:
        """Compute the gradient of the query measure of every example; ∇L if it is the loss."""
        return next(self.compute_tiles(batch, "measures"))

    def compute_sqrt_hessian_tiles(self, batch: Batch) -> Iterator[GradientTile]:
        """Compute the GGN factor rows ∇(outputsᵀ s_j), one tile for each column s_j of S_i.

        S_i S_iᵀ is the Hessian of the loss in the outputs of example i. The sum of v vᵀ over all
        rows v of these tiles is the Gauss-Newton matrix of the batch.
        """
        return self.compute_tiles(batch, "roots")

    def compute_tiles(self, batch: Batch, gradient_of: GradientOf) -> Iterator[GradientTile]:
        """Compute one tile of "losses" or "measures", or one for each column of S_i ("roots")."""
        count = len(batch["labels"])
        assemble = partial(self._make_tile, count=count, formed_count=count, inputs={})
        return self.map_columns(batch, gradient_of, assemble, GradientTile, forms_rows=True)

    def map_columns(
        self,
        batch: Batch,
        gradient_of: GradientOf,
        on_calls: Callable[[LayerGrads], T],
        on_gradients: Callable[[Tensor], T],
        *,
        forms_rows: bool = False,
    ) -> Iterator[T]:
        """Apply a function to the captured calls, or to the gradients, of each backward pass.

        Args:
            batch: Examples of the pass.
            gradient_of: Function to differentiate.
            on_calls: Function of the calls with the gradients at their outputs.
            on_gradients: Function of gradients [b p], where examples take separate backward passes.
            forms_rows: Whether the gradients of all examples are formed anyway, so that a check
                takes all of them.
        """
        num_done, analyzed_pass = 0, self._run_checked(batch)
        if analyzed_pass is not None:
            for cotangent, layer_grads in analyzed_pass.hooked_pass.backpropagate(gradient_of):
                try:
                    if not num_done and not self._verify_tile(
                        analyzed_pass, cotangent, layer_grads, gradient_of, forms_rows
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
        del analyzed_pass  # frees its graph
        rows = self._get_workspace(len(batch["labels"]))
        for _ in islice(fill_by_backward(self.objective, batch, gradient_of, rows), num_done, None):
            yield on_gradients(rows)

    def uses_hooks(self, batch: Batch) -> bool:
        """Whether gradients come from forward hooks; False until a batch determines it."""
        if self.per_example_backward is None:
            self.compute_loss_tile(batch)
        return self.per_example_backward is False

    def _run_checked(self, batch: Batch) -> "_AnalyzedPass | None":
        """Run with hooks after a trial of the batch, and compare with outputs of single rows."""
        try_batch(self.objective, batch)
        with translate_model_errors(self.objective):
            analyzed_pass = self._run_with_hooks(batch)
            outputs = None if analyzed_pass is None else analyzed_pass.hooked_pass.exact_outputs
            spot_check_batch(self.objective, batch, outputs)
        return analyzed_pass

    def _run_with_hooks(self, batch: Batch) -> "_AnalyzedPass | None":
        """Run a forward pass with hooks and analyse its graph; None if hooks cannot be used.

        For a single example, rows of the batch and tables shared by all examples cannot be
        distinguished, and a separate backward pass costs no more.
        """
        if self._forced is False:
            return _AnalyzedPass(HookedPass.run(self.objective, batch, self.precision), None)
        if self.per_example_backward or len(batch["labels"]) == 1:
            return None
        hooked_pass = HookedPass.run(self.objective, batch, self.precision)
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
        forms_rows: bool,
    ) -> bool:
        """Whether the tile agrees with a backward pass, or needs no check."""
        hooked_pass, structure = analyzed_pass.hooked_pass, analyzed_pass.structure
        if structure is None:
            return True
        if not self.route.is_due(structure):
            self.route.record_unchecked(structure)
            return True
        count = len(hooked_pass.outputs)
        checked_count = count if forms_rows else self._count_checked_rows(count)
        comparison = compare_with_backward(
            hooked_pass,
            cotangent,
            gradient_of,
            self._make_tile(layer_grads, count, checked_count),
            self.route.num_tiles,
        )
        if comparison.parameter:
            distance = f"{comparison.gap:.1g} of their norm in {comparison.parameter}"
            self.route.record_failure(
                structure, f"the gradients of a backward pass differ by {distance}"
            )
            return False
        self.route.record_pass(comparison.decisive)
        return True

    def _make_tile(
        self,
        layer_grads: LayerGrads,
        count: int,
        formed_count: int,
        inputs: FactorInputs | None = None,
    ) -> GradientTile:
        """Return the gradients of all `count` examples as factors, or of the first ones formed."""
        dtype = self._workspace.dtype if self.precision == BF16 else None
        tile = make_structured_tile(self.objective, layer_grads, count, inputs, dtype)
        if tile is not None:
            return tile
        rows = self._get_workspace(formed_count)
        if formed_count < count:
            layer_grads = _select_first(layer_grads, formed_count)
        assemble_gradients(self.objective, layer_grads, rows)
        return GradientTile(rows)

    def _count_checked_rows(self, count: int) -> int:
        """Count the gradients to check in a tile: without a workspace for all, fewer are enough."""
        max_rows = max(2, len(self._workspace), MAX_CHECK_SIZE // self.objective.space.size)
        return min(count, max_rows)

    def _get_workspace(self, count: int) -> Float[Tensor, "b p"]:
        if len(self._workspace) < count:
            self._workspace = aligned_rows(self._workspace, count, self.objective.space.size)
        return self._workspace[:count]


@dataclass(frozen=True, eq=False)
class _AnalyzedPass:
    """Forward pass with hooks, and the structure of its graph; None skips all checks."""

    hooked_pass: HookedPass
    structure: GraphStructure | None


def _select_first(layer_grads: LayerGrads, count: int) -> LayerGrads:
    """Return the calls restricted to the first examples."""
    return [
        (replace(call, inputs=call.inputs[:count], outputs=call.outputs[:count]), delta[:count])
        for call, delta in layer_grads
    ]


def _first_line(error: Exception) -> str:
    """Return the first line of an error message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def compute_loss_gradients(
    gradients: Gradients, examples: ExamplesLike, ids: Ids | None = None
) -> Float[Tensor, "m p"]:
    """Compute the loss gradients ∇L of examples, in the order of `ids`; of all by default."""
    try_table(gradients.objective, examples, "examples")
    return _compute_in_order(gradients, gradients.compute_loss_tile, examples, ids)


def compute_measure_gradients(
    gradients: Gradients, queries: ExamplesLike, ids: Ids | None = None
) -> Float[Tensor, "q p"]:
    """Compute the gradients of the query measure: the right-hand sides b of (A + λI) x = b."""
    try_table(gradients.objective, queries, "queries", gradients.objective.query_measure)
    return _compute_in_order(gradients, gradients.compute_measure_tile, queries, ids)


def _compute_in_order(
    gradients: Gradients,
    compute_tile: Callable[[Batch], GradientTile],
    examples: Examples,
    ids: Ids | None,
) -> Tensor:
    ids = all_ids(examples) if ids is None else as_ids(ids, len(examples))
    rows = aligned_rows(gradients.objective.like, len(ids), gradients.objective.space.size)
    for places, batch in examples.batches(ids):
        rows[places] = compute_tile(batch).gradients
    return rows
