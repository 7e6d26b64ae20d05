"""Assembly of per-example gradients, from captured calls or from separate backward passes."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
from fastif.gradients.layer_rules import (
    compute_layer_gradients,
    fill_factor_gradients,
    split_examples,
)
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
    for name, calls in group_calls(layer_grads).items():
        prefix = f"{name}." if name else ""
        own_blocks = {
            parameter.removeprefix(prefix): block
            for parameter, block in blocks.items()
            if get_owner_name(parameter) == name
        }
        for call, delta in calls:
            check_first_axis(call, delta, count)
        if own_blocks:
            _fill_layer(calls, own_blocks)
            filled.update(f"{prefix}{own}" for own in own_blocks)
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()


def group_calls(layer_grads: LayerGrads) -> dict[str, LayerGrads]:
    """Return the calls of each layer, by its name."""
    by_layer: dict[str, LayerGrads] = {}
    for call, delta in layer_grads:
        by_layer.setdefault(call.name, []).append((call, delta))
    return by_layer


def _fill_layer(calls: LayerGrads, blocks: dict[str, Tensor]) -> None:
    """Write the gradients in the parameters of one layer, summed over its calls."""
    layer = calls[0][0].layer
    if all(has_factors(layer, call.inputs) for call, _ in calls):
        fill_factor_gradients(layer, [(call.inputs, delta) for call, delta in calls], blocks)
        return
    size = sum(block[0].numel() for block in blocks.values())
    for position, (call, delta) in enumerate(calls):
        for part in _split_rows(layer, len(delta), size):
            grads = compute_layer_gradients(
                layer, call.inputs[part], delta[part], call.outputs[part], call.params
            )
            for name, block in blocks.items():
                add = block[part].add_ if position else block[part].copy_
                add(grads[name].view(block[part].shape))


def _split_rows(layer: nn.Module, count: int, size: int) -> Iterator[slice]:
    """Split the examples of an embedding, whose gradients are large before they are written."""
    return split_examples(count, size) if isinstance(layer, nn.Embedding) else iter([slice(count)])


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
