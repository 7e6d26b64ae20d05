"""Rows of per-example gradients, from the calls of layers and the gradients at their outputs."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import LayerGrads, get_owner_name
from fastif.gradients.layer_rules import compute_layer_gradients, fill_linear_gradients, is_linear
from fastif.models.objective import Objective


@torch.no_grad()
def assemble_gradients(
    objective: Objective, layer_grads: LayerGrads, gradients: Float[Tensor, "b p"]
) -> None:
    """Write what the calls contribute into the rows; the calls of one layer are added up.

    Raises:
        ValueError: a call is not about the examples of the batch, one by one.
    """
    space = objective.space
    blocks = {
        name: gradients[:, columns].unflatten(1, shape or (1,))
        for name, columns, shape in zip(space.names, space.slices, space.shapes, strict=True)
    }
    filled: set[str] = set()
    for call, delta in layer_grads:
        if len(delta) != len(gradients):
            raise ValueError(f"{call.name}: its first axis is not the example")
        prefix = f"{call.name}." if call.name else ""
        own_params = {
            name.removeprefix(prefix): name for name in blocks if get_owner_name(name) == call.name
        }
        if is_linear(call.layer) and not filled.intersection(own_params.values()):
            fill_linear_gradients(
                call.inputs, delta, {own: blocks[name] for own, name in own_params.items()}
            )
        else:
            grads = compute_layer_gradients(call.layer, call.inputs, delta, call.outputs)
            for own, name in own_params.items():
                add = blocks[name].add_ if name in filled else blocks[name].copy_
                add(grads[own].view(blocks[name].shape))
        filled.update(own_params.values())
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()
