"""Choice of the layers whose per-example gradients are held as factors, by counts."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fastif.gradients.hooks import LayerCall, LayerGrads
from fastif.gradients.layer_factors import (
    count_groups,
    count_positions,
    get_widths,
    has_factors,
    has_transposed_weight,
    read_deltas,
    read_inputs,
)
from fastif.gradients.outer_products import OuterProducts
from fastif.gradients.row_assembly import check_first_axis, fill_blocks, group_calls
from fastif.gradients.structured_tile import StructuredTile, TileLayout
from fastif.models.objective import Objective
from fastif.models.parameters import ParamSpace
from fastif.numerics.deferred_checks import assume_all

MAX_OPERATIONS = 0.5
"""Operations of a product of factors, relative to one of gradients, up to which factors are held.

Factors save time at any number of vectors if they save it here.
"""

MIN_SHARE = 0.5
"""Share of the parameters that must be in such layers: the others limit what the factors save."""

MAX_NORM = 1e18
"""Largest norm of factors and of their products, with squares below the largest single number."""

FactorInputs = dict[tuple[LayerCall, ...], Tensor]
"""Inputs [g b t i] of layers by their calls, which all columns of one batch share."""


def make_structured_tile(
    objective: Objective,
    layer_grads: LayerGrads,
    count: int,
    shared_inputs: FactorInputs | None = None,
) -> StructuredTile | None:
    """Return the gradients of captured calls, with factors where these save time.

    The product of two gradients in the weight [o i] of a layer with t positions takes t² (i + o)
    multiplications by factors, and o i by formed gradients.

    Args:
        objective: Model with the attributed parameters.
        layer_grads: Calls, each with the gradient at its output.
        count: Number of examples.
        shared_inputs: Inputs from earlier columns of the same calls, to which new ones are added.

    Returns:
        The tile; None if too few parameters are in such layers, or a factor is not finite or so
        large that squares overflow.

    Raises:
        ValueError: If the first axis of a call is not that of the examples.
    """
    space, dtype = objective.space, objective.like.dtype
    columns = dict(zip(space.names, space.slices, strict=True))
    shared_inputs = {} if shared_inputs is None else shared_inputs
    layers: dict[str, OuterProducts] = {}
    for calls in _choose_layers(columns, layer_grads):
        for call, delta in calls:
            check_first_axis(call, delta, count)
        layers |= _make_outer_products(calls, columns, dtype, shared_inputs)
    if not layers or not _are_safe(layers.values()):
        return None
    layout = _make_layout(space, layers)
    dense = objective.like.new_empty(count, layout.remaining_size)
    blocks = _split_blocks(space, layout, dense)
    fill_blocks(layer_grads, blocks, count)
    return StructuredTile(layout, layers, dense)


def _choose_layers(columns: Mapping[str, slice], layer_grads: LayerGrads) -> list[LayerGrads]:
    """Return the calls of each layer with factors; none if they have too few of the parameters."""
    chosen = [
        calls
        for calls in group_calls(layer_grads).values()
        if f"{_prefix(calls[0][0])}weight" in columns and _saves_operations(calls)
    ]
    total = sum(own.stop - own.start for own in columns.values())
    weights = (columns[f"{_prefix(calls[0][0])}weight"] for calls in chosen)
    share = sum(own.stop - own.start for own in weights)
    return chosen if share >= MIN_SHARE * total else []


def _saves_operations(calls: LayerGrads) -> bool:
    """Whether factors save operations, with the positions of all calls of a layer together."""
    layer = calls[0][0].layer
    if not all(has_factors(layer, call.inputs) for call, _ in calls):
        return False
    inputs, outputs = get_widths(layer)
    positions = sum(count_positions(layer, call.outputs) for call, _ in calls)
    return 0 < positions**2 * (inputs + outputs) <= MAX_OPERATIONS * inputs * outputs


def _prefix(call: LayerCall) -> str:
    return f"{call.name}." if call.name else ""


def _make_outer_products(
    calls: LayerGrads, columns: Mapping[str, slice], dtype: torch.dtype, shared: FactorInputs
) -> dict[str, OuterProducts]:
    """Return the outer products of a layer, or of each group of a convolution, by name."""
    layer, name, prefix = calls[0][0].layer, calls[0][0].name, _prefix(calls[0][0])
    key = tuple(call for call, _ in calls)
    if key not in shared:
        shared[key] = torch.cat([read_inputs(layer, call.inputs) for call in key], 2).to(dtype)
    inputs = shared[key]
    deltas = torch.cat([read_deltas(layer, delta) for _, delta in calls], 2).to(dtype)
    groups = count_groups(layer)
    weights = _split_columns(columns[f"{prefix}weight"], groups)
    biases: list[slice | None] = [None] * groups
    if f"{prefix}bias" in columns:
        biases = [*_split_columns(columns[f"{prefix}bias"], groups)]
    transposed = has_transposed_weight(layer)
    return {
        f"{name}[{group}]" if groups > 1 else name: OuterProducts(
            weights[group], biases[group], inputs[group], deltas[group][None], transposed
        )
        for group in range(groups)
    }


def _split_columns(columns: slice, groups: int) -> list[slice]:
    """Split the columns of a parameter into those of each group."""
    width = (columns.stop - columns.start) // groups
    starts = range(columns.start, columns.stop, width)
    return [slice(start, start + width) for start in starts]


def _are_safe(layers: Iterable[OuterProducts]) -> bool:
    """Whether no square of the factors and of their products overflows or is not finite."""
    sizes = []
    for layer in layers:
        inputs, deltas = (factor.norm(dim=-1).amax() for factor in (layer.inputs, layer.deltas))
        sizes += [inputs, deltas, inputs * deltas * layer.inputs.shape[1]]
    return assume_all(torch.stack(sizes) < MAX_NORM)


def _make_layout(space: ParamSpace, layers: dict[str, OuterProducts]) -> TileLayout:
    starts = {
        own.start
        for layer in layers.values()
        for own in (layer.weight, layer.bias)
        if own is not None
    }
    runs: list[slice] = []
    for columns in space.slices:
        if columns.start in starts or columns.start == columns.stop:  # groups start with it
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
