"""Inputs and output gradients of linear layers, one column of the loss's square root at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.ekfac.parameter_groups import ensure_two_examples
from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.gradients.hooks import LayerGrads as Calls
from fastif.gradients.layer_factors import flatten_positions
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True, eq=False)
class LayerActivations:
    """Inputs and output gradients of one linear layer at all positions, for one column of S_i.

    S_i is the square root of the loss's Hessian in the outputs of example i, see `GaussNewton`.

    Attributes:
        name: Full name of the layer.
        inputs: Layer inputs a at each position t of each example.
        deltas: Gradient δ of the outputs times the column, taken at the layer's outputs.
        reach: Mask of positions from which a path leads to the outputs. All others, such as
            padding, have δ = 0 and add nothing to any gradient. All positions of an example with
            NaN or infinity are False too, so it counts as zero.
    """

    name: str
    inputs: Float[Tensor, "b t i"]
    deltas: Float[Tensor, "b t o"]
    reach: Bool[Tensor, "b t"]


def capture_layer_activations(
    objective: Objective, batch: Batch
) -> Iterator[list[LayerActivations]]:
    """Capture inputs and output gradients of all attributed linear layers with forward hooks.

    Layers, inputs and positions are equal for all columns; only the output gradients differ.

    Args:
        objective: Model in which every attributed parameter belongs to a linear layer.
        batch: Examples of the pass.

    Returns:
        Iterator over the columns of S_i, with one entry for each layer.

    Raises:
        InputError: If forward hooks do not give the per-example gradients of one of the layers.
    """
    count, gradients = len(batch["labels"]), Gradients(objective)

    def refuse(_: Tensor) -> list[LayerActivations]:
        raise InputError(
            "EK-FAC",
            "linear layers with per-example gradients from forward hooks",
            gradients.route.reason,
            'Use the exact curvature (kind = "gauss-newton"), or attribute other parameters.',
        )

    for column in gradients.map_columns(ensure_two_examples(batch), "roots", _merge_calls, refuse):
        yield [_take_first(layer, count) for layer in column]


def _merge_calls(calls: Calls) -> list[LayerActivations]:
    """Concatenate the calls of each layer, with examples that are not finite masked out."""
    calls_by_layer: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for call, delta in calls:
        calls_by_layer.setdefault(call.name, []).append(flatten_positions(call.inputs, delta))
    layers = {
        name: tuple(map(_concat_positions, zip(*pairs, strict=True)))
        for name, pairs in calls_by_layer.items()
    }
    tensors = [tensor for pair in layers.values() for tensor in pair]
    finite = [torch.isfinite(tensor.flatten(1).norm(dim=1)) for tensor in tensors]
    return [
        LayerActivations(
            name, inputs, deltas, (deltas != 0).any(-1) & torch.stack(finite).all(0)[:, None]
        )
        for name, (inputs, deltas) in layers.items()
    ]


def _take_first(layer: LayerActivations, count: int) -> LayerActivations:
    """Return the activations of the first examples."""
    fields = {name: getattr(layer, name)[:count] for name in ("inputs", "deltas", "reach")}
    return replace(layer, **fields)


def _concat_positions(tensors: tuple[Tensor, ...]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)
