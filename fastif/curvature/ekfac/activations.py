"""Linear layers as a backward pass sees them, one root column at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.ekfac.parameter_groups import ensure_two_examples
from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.gradients.hooks import LayerGrads as Calls
from fastif.gradients.layer_rules import flatten_positions
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True, eq=False)
class LayerActivations:
    """All positions of all calls of one linear layer, for one root column of a batch.

    Attributes:
        name: of the layer.
        inputs: a.
        deltas: δ, the gradient of the column at the layer's output.
        reach: the positions from which a path leads to the outputs. All others have δ = 0 and add
            nothing to any gradient; padding is among them. So is every position of an example
            with a number that is not finite: it counts as zero.
    """

    name: str
    inputs: Float[Tensor, "b t i"]
    deltas: Float[Tensor, "b t o"]
    reach: Bool[Tensor, "b t"]


def capture_layer_activations(
    objective: Objective, batch: Batch
) -> Iterator[list[LayerActivations]]:
    """For each root column every layer that owns attributed parameters; all must be linear.

    The layers, their inputs and positions are the same for all columns.

    Raises:
        InputError: hooks do not give per-example gradients of one of these layers.
    """
    count, gradients = len(batch["labels"]), Gradients(objective)

    def refuse(_: Tensor) -> list[LayerActivations]:
        raise InputError(
            "EK-FAC",
            "linear layers whose inputs and outputs give the gradient of each example",
            gradients.route.reason,
            'Take the exact curvature (kind = "gauss-newton"), or attribute other parameters.',
        )

    for column in gradients.map_columns(ensure_two_examples(batch), "roots", _merge_calls, refuse):
        yield [_take_first(layer, count) for layer in column]


def _merge_calls(calls: Calls) -> list[LayerActivations]:
    """The calls of each layer together, without examples that are not finite."""
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
    """The first examples of a layer."""
    fields = {name: getattr(layer, name)[:count] for name in ("inputs", "deltas", "reach")}
    return replace(layer, **fields)


def _concat_positions(tensors: tuple[Tensor, ...]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)
