"""Choice of the layers whose per-example gradients are held as factors, by counts."""

import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from fastif.gradients.hooks import LayerCall, LayerGrads
from fastif.gradients.layer_rules import flatten_positions, has_transposed_weight, is_linear
from fastif.gradients.outer_products import OuterProducts
from fastif.gradients.row_assembly import check_first_axis, fill_blocks
from fastif.gradients.structured_tile import StructuredTile, TileLayout
from fastif.models.objective import Objective
from fastif.models.parameters import ParamSpace

MAX_OPERATIONS = 0.5
"""Operations of a product of factors, relative to one of gradients, up to which factors are held.

Factors save time at any number of vectors if they save it here.
"""

MIN_SHARE = 0.5
"""Share of the parameters that must be in such layers: the others limit what the factors save."""

MAX_NORM = 1e18
"""Largest norm of factors and of their products, with squares below the largest single number."""


def make_structured_tile(
    objective: Objective, layer_grads: LayerGrads, count: int
) -> StructuredTile | None:
    """Return the gradients of captured calls, with factors where these save time.

    The product of two gradients in the weight [o i] of a linear layer with t positions takes t² (i
    + o) multiplications by factors, and o i by formed gradients.

    Args:
        objective: Model with the attributed parameters.
        layer_grads: Calls, each with the gradient at its output.
        count: Number of examples.

    Returns:
        The tile; None if too few parameters are in such layers, or a factor is not finite or so
        large that squares overflow.

    Raises:
        ValueError: If the first axis of a call is not that of the examples.
    """
    space, dtype = objective.space, objective.like.dtype
    columns = dict(zip(space.names, space.slices, strict=True))
    layers = {}
    for call, delta in _choose_calls(columns, layer_grads):
        check_first_axis(call, delta, count)
        layers[call.name] = _make_outer_products(call, delta, columns, dtype)
    if not layers or not _are_safe(layers.values()):
        return None
    layout = _make_layout(space, layers)
    dense = objective.like.new_empty(count, layout.remaining_size)
    blocks = _split_blocks(space, layout, dense)
    fill_blocks(layer_grads, blocks, count)
    return StructuredTile(layout, layers, dense)


def _choose_calls(columns: dict[str, slice], layer_grads: LayerGrads) -> LayerGrads:
    """Return the calls of layers with factors; none if they have too few of the parameters."""
    call_counts = Counter(call.name for call, _ in layer_grads)
    chosen = [
        (call, delta)
        for call, delta in layer_grads
        if call_counts[call.name] == 1
        and f"{_prefix(call)}weight" in columns
        and is_linear(call.layer)
        and not has_transposed_weight(call.layer)
        and _saves_operations(call)
    ]
    total = sum(own.stop - own.start for own in columns.values())
    weights = (columns[f"{_prefix(call)}weight"] for call, _ in chosen)
    share = sum(own.stop - own.start for own in weights)
    return chosen if share >= MIN_SHARE * total else []


def _saves_operations(call: LayerCall) -> bool:
    inputs, outputs = call.inputs.shape[-1], call.outputs.shape[-1]
    positions = math.prod(call.inputs.shape[1:-1])
    return 0 < positions**2 * (inputs + outputs) <= MAX_OPERATIONS * inputs * outputs


def _prefix(call: LayerCall) -> str:
    return f"{call.name}." if call.name else ""


def _make_outer_products(
    call: LayerCall, delta: Tensor, columns: dict[str, slice], dtype: torch.dtype
) -> OuterProducts:
    inputs, deltas = flatten_positions(call.inputs, delta)
    prefix = _prefix(call)
    return OuterProducts(
        columns[f"{prefix}weight"],
        columns.get(f"{prefix}bias"),
        inputs.to(dtype),
        deltas.to(dtype)[None],
    )


def _are_safe(layers: Iterable[OuterProducts]) -> bool:
    """Whether no square of the factors and of their products overflows or is not finite."""
    sizes = []
    for layer in layers:
        inputs, deltas = (factor.norm(dim=-1).amax() for factor in (layer.inputs, layer.deltas))
        sizes += [inputs, deltas, inputs * deltas * layer.inputs.shape[1]]
    return bool((torch.stack(sizes) < MAX_NORM).all())


def _make_layout(space: ParamSpace, layers: dict[str, OuterProducts]) -> TileLayout:
    starts = {
        own.start
        for layer in layers.values()
        for own in (layer.weight, layer.bias)
        if own is not None
    }
    runs: list[slice] = []
    for columns in space.slices:
        if columns.start in starts or columns.start == columns.stop:
            continue
        if runs and runs[-1].stop == columns.start:
            runs[-1] = slice(runs[-1].start, columns.stop)
        else:
            runs.append(columns)
    return TileLayout(space.size, tuple(layers), tuple(runs))


def _split_blocks(space: ParamSpace, layout: TileLayout, dense: Tensor) -> dict[str, Tensor]:
    """Return views of the remaining parameters by name."""
    blocks, start = {}, 0
    for name, columns, shape in zip(space.names, space.slices, space.shapes, strict=True):
        if any(run.start <= columns.start < run.stop for run in layout.remaining):
            stop = start + columns.stop - columns.start
            blocks[name] = dense[:, start:stop].unflatten(1, shape or (1,))
            start = stop
    return blocks
