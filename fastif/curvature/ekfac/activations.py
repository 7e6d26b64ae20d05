"""Linear layers as a backward pass sees them, one root column at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.ekfac.parameter_groups import at_least_two
from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.gradients.hooks import Heard as Calls
from fastif.gradients.layer_rules import positions
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True, eq=False)
class Heard:
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


def heard_columns(objective: Objective, batch: Batch) -> Iterator[list[Heard]]:
    """For each root column every layer that owns attributed parameters; all must be linear.

    The layers, their inputs and positions are the same for all columns.

    Raises:
        InputError: hooks do not give per-example gradients of one of these layers.
    """
    count, gradients = len(batch["labels"]), Gradients(objective)

    def refuse(_: Tensor) -> list[Heard]:
        raise InputError(
            "EK-FAC",
            "linear layers whose inputs and outputs give the gradient of each example",
            gradients.route.why,
            'Take the exact curvature (kind = "gauss-newton"), or attribute other parameters.',
        )

    for column in gradients.taken(at_least_two(batch), "roots", _of_calls, refuse):
        yield [_first(layer, count) for layer in column]


def _of_calls(calls: Calls) -> list[Heard]:
    """The calls of each layer together, without examples that are not finite."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for call, delta in calls:
        found.setdefault(call.name, []).append(positions(call.inputs, delta))
    layers = {name: tuple(map(_joined, zip(*made, strict=True))) for name, made in found.items()}
    parts = [part for pair in layers.values() for part in pair]
    sound = [torch.isfinite(part.flatten(1).norm(dim=1)) for part in parts]
    return [
        Heard(name, inputs, deltas, (deltas != 0).any(-1) & torch.stack(sound).all(0)[:, None])
        for name, (inputs, deltas) in layers.items()
    ]


def _first(layer: Heard, count: int) -> Heard:
    """The first examples of a layer."""
    parts = {name: getattr(layer, name)[:count] for name in ("inputs", "deltas", "reach")}
    return replace(layer, **parts)


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
