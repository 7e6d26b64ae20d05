"""Assembly of per-example gradients, from captured calls or from separate backward passes."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch
from fastif.gradients.combination_check import to_dense
from fastif.gradients.hooks import (
    GradientOf,
    LayerCall,
    LayerGrads,
    compute_cotangents,
    get_owner_name,
)
from fastif.gradients.layer_factors import has_factors
from fastif.gradients.layer_rules import compute_layer_gradients, fill_factor_gradients
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params
from fastif.models.trial import translate_model_errors


@torch.no_grad()
def assemble_gradients(
    objective: Objective, layer_grads: LayerGrads, gradients: Float[Tensor, "b p"]
) -> None:
    """Write the gradients of all captured calls into the workspace; calls of one layer are summed.

    Args:
        objective: Model with the attributed parameters.
        layer_grads: Calls, each with the gradient at its output.
        gradients: Workspace of the gradients, overwritten.

    Raises:
        ValueError: If the first axis of a call is not that of the examples.
    """
    space = objective.space
    blocks = {
        name: gradients[:, columns].unflatten(1, shape or (1,))
        for name, columns, shape in zip(space.names, space.slices, space.shapes, strict=True)
    }
    fill_blocks(layer_grads, blocks, len(gradients))


def fill_blocks(layer_grads: LayerGrads, blocks: dict[str, Tensor], count: int) -> None:
    """Write the gradients in some parameters; calls of one layer are summed.

    Args:
        layer_grads: Calls, each with the gradient at its output.
        blocks: Gradients of `count` examples in each parameter by name, overwritten.
        count: Number of examples.

    Raises:
        ValueError: If the first axis of a call is not that of the examples.
    """
    filled: set[str] = set()
    for call, delta in layer_grads:
        check_first_axis(call, delta, count)
        prefix = f"{call.name}." if call.name else ""
        own_params = {
            name.removeprefix(prefix): name for name in blocks if get_owner_name(name) == call.name
        }
        if not own_params:
            continue
        if has_factors(call.layer, call.inputs) and not filled.intersection(own_params.values()):
            own_blocks = {own: blocks[name] for own, name in own_params.items()}
            fill_factor_gradients(call.layer, call.inputs, delta, own_blocks)
        else:
            grads = _compute_single_precision(call, delta)
            for own, name in own_params.items():
                add = blocks[name].add_ if name in filled else blocks[name].copy_
                add(grads[own].view(blocks[name].shape))
        filled.update(own_params.values())
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()


def _compute_single_precision(call: LayerCall, delta: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a call in the type of its parameters, which autocast leaves.

    Outputs that autocast rounded are not compared with those of single examples.
    """
    dtype = next(iter(call.params.values())).dtype
    inputs = call.inputs.to(dtype) if call.inputs.is_floating_point() else call.inputs
    outputs = call.outputs if call.outputs.dtype == inputs.dtype == delta.dtype else None
    return compute_layer_gradients(call.layer, inputs, delta.to(dtype), outputs, call.params)


def check_first_axis(call: LayerCall, delta: Tensor, count: int) -> None:
    """Refuse a call of which the first axis is not that of the examples.

    Raises:
        ValueError: With the name of the layer.
    """
    if len(delta) != count:
        raise ValueError(f"{call.name}: its first axis is not that of the examples")


def fill_by_backward(
    objective: Objective, batch: Batch, gradient_of: GradientOf, rows: Tensor
) -> Iterator[None]:
    """Compute gradients by one backward pass for each example and column."""
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
