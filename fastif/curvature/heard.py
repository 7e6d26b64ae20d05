"""Linear layers as a backward pass sees them, one root column at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.examples import Batch
from fastif.layers import positions
from fastif.listening import Call, hear
from fastif.objective import Objective


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
    """
    for calls in hear(objective, batch, "roots"):
        found: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for call, delta in calls:
            found.setdefault(call.name, []).append(_checked(call, delta, len(batch["labels"])))
        layers = {
            name: tuple(map(_joined, zip(*made, strict=True))) for name, made in found.items()
        }
        sound = objective.like.new_ones(len(batch["labels"]), dtype=torch.bool)
        for part in (part for pair in layers.values() for part in pair):
            sound &= torch.isfinite(part.flatten(1).norm(dim=1))
        yield [
            Heard(name, inputs, deltas, (deltas != 0).any(-1) & sound[:, None])
            for name, (inputs, deltas) in layers.items()
        ]


def _checked(call: Call, delta: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if len(delta) != count:
        raise ValueError(f"{call.name}: its first axis is not the example")
    return positions(call.inputs, delta)


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
