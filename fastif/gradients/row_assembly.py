"""Rows of per-example gradients, from the calls of layers and the gradients at their outputs."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import Heard, owner_of
from fastif.gradients.layer_rules import fill_linear, is_linear, layer_gradients
from fastif.models.objective import Objective


@torch.no_grad()
def collect(objective: Objective, heard: Heard, rows: Float[Tensor, "b p"]) -> None:
    """Write what the calls contribute into the rows; the calls of one layer are added up.

    Raises:
        ValueError: a call is not about the examples of the batch, one by one.
    """
    space = objective.space
    blocks = {
        name: rows[:, where].unflatten(1, shape or (1,))
        for name, where, shape in zip(space.names, space.slices, space.shapes, strict=True)
    }
    filled: set[str] = set()
    for call, delta in heard:
        if len(delta) != len(rows):
            raise ValueError(f"{call.name}: its first axis is not the example")
        prefix = f"{call.name}." if call.name else ""
        mine = {name.removeprefix(prefix): name for name in blocks if owner_of(name) == call.name}
        if is_linear(call.layer) and not filled.intersection(mine.values()):
            fill_linear(call.inputs, delta, {own: blocks[name] for own, name in mine.items()})
        else:
            found = layer_gradients(call.layer, call.inputs, delta, call.outputs)
            for own, name in mine.items():
                add = blocks[name].add_ if name in filled else blocks[name].copy_
                add(found[own].view(blocks[name].shape))
        filled.update(mine.values())
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()
