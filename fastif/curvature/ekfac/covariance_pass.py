"""First pass of an EK-FAC fit: covariances of layer inputs and of output gradients."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fastif.curvature.ekfac.accumulators import EkfacSums, zero_sum
from fastif.curvature.ekfac.activations import LayerActivations, capture_layer_activations
from fastif.curvature.ekfac.eigen_block import gather_slices
from fastif.curvature.ekfac.fit_spec import EkfacSpec
from fastif.curvature.ekfac.parameter_groups import ParameterGroup
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import Batch
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective
from fastif.models.parameter_subset import ParameterSubset

MAX_TILE_SIZE = 2**25
"""Numbers in the per-example gradients of non-linear layers that are in memory at once."""


def compute_covariance_sums(curvature: GaussNewton, spec: EkfacSpec) -> EkfacSums:
    """Sum second moments over the examples of a curvature, in one pass.

        linear layer:    "inputs" Σ a aᵀ and "positions", their number;
                         "outputs" Σ δ δᵀ over the columns of S_i
        dense block:     "products" Σ g gᵀ
        diagonal block:  "squares" Σ g²

    with S_i the square root of the loss's Hessian, see `GaussNewton`. Only positions with a path to
    the outputs are summed, so the sums do not depend on padding. An example without finite
    gradients counts as zero, as in the Gauss-Newton matrix.

    Args:
        curvature: Gauss-Newton matrix of the examples.
        spec: Parameter groups and sampling settings of the fit.
    """
    sums = _make_zero_sums(curvature, spec)
    linear_objective, other_objective = (
        spec.make_subset(curvature, True),
        spec.make_subset(curvature, False),
    )
    gradients = Gradients(other_objective)
    for batch in spec.iterate_batches(curvature):
        sums["count"] += len(batch["labels"])
        if linear_objective.params:
            _add_linear(sums, spec, linear_objective, batch)
        if other_objective.params:
            _add_rest(sums, spec, gradients, batch)
    return EkfacSums(spec, sums)


def _make_zero_sums(curvature: GaussNewton, spec: EkfacSpec) -> dict[str, Tensor]:
    like, params = curvature.like, curvature.objective.params
    sums = {"count": zero_sum(like=like)}
    for index, group in enumerate(spec.groups):
        size = sum(params[name].numel() for name in group.names)
        if group.kind == "diagonal":
            sums[f"{index}.squares"] = zero_sum(size, like=like)
        elif group.kind == "eigen":
            sums[f"{index}.products"] = zero_sum(size, size, like=like)
        else:
            outputs, inputs = compute_factor_sizes(group, curvature.objective)
            sums[f"{index}.outputs"] = zero_sum(outputs, outputs, like=like)
            sums[f"{index}.inputs"] = zero_sum(inputs, inputs, like=like)
            sums[f"{index}.positions"] = zero_sum(like=like)
    return sums


def compute_factor_sizes(group: ParameterGroup, objective: Objective) -> tuple[int, int]:
    """Return outputs and inputs of a linear layer; a bias is one more input."""
    weight, bias = group.find_name("weight"), group.find_name("bias")
    if weight is None:
        return len(objective.params[group.names[0]]), 1
    outputs, inputs = objective.params[weight].shape[:: -1 if group.is_transposed else 1]
    return outputs, inputs + (bias is not None)


def _add_linear(
    sums: dict[str, Tensor], spec: EkfacSpec, objective: ParameterSubset, batch: Batch
) -> None:
    group_indices = {group.owner: group_index for group_index, group in enumerate(spec.groups)}
    layers: dict[str, LayerActivations] = {}
    for column in capture_layer_activations(objective, batch):
        for layer in column:
            reached_deltas = layer.deltas[layer.reach]
            sums[f"{group_indices[layer.name]}.outputs"] += reached_deltas.T @ reached_deltas
            previous = layers.get(layer.name, layer)
            layers[layer.name] = replace(layer, reach=layer.reach | previous.reach)
    for name, layer in layers.items():
        group_index = group_indices[name]
        inputs = append_ones(layer.inputs[layer.reach], spec.groups[group_index])
        sums[f"{group_index}.inputs"] += inputs.T @ inputs
        sums[f"{group_index}.positions"] += len(inputs)


def append_ones(inputs: Tensor, group: ParameterGroup) -> Tensor:
    """Append the constant input 1 to the inputs of a layer if its bias is attributed."""
    columns = [inputs] if group.find_name("weight") else []
    if group.find_name("bias"):
        columns.append(inputs.new_ones(*inputs.shape[:-1], 1))
    return torch.cat(columns, -1)


def _add_rest(sums: dict[str, Tensor], spec: EkfacSpec, gradients: Gradients, batch: Batch) -> None:
    space = gradients.objective.space
    for chunk in _split_batch(batch, max(1, MAX_TILE_SIZE // space.size)):
        for tile in gradients.compute_sqrt_hessian_tiles(chunk):
            tile.gradients[~tile.finite_mask()] = 0
            for index, group in enumerate(spec.groups):
                if group.kind == "diagonal":
                    vectors = tile.gradients[:, space.select_slices(group.names)[0]]
                    sums[f"{index}.squares"] += vectors.square().sum(0)
                elif group.kind == "eigen":
                    vectors = gather_slices(
                        tile.gradients, space.select_slices(group.names)
                    ).double()
                    sums[f"{index}.products"] += vectors.T @ vectors


def _split_batch(batch: Batch, size: int) -> Iterator[Batch]:
    """Split a batch into smaller ones."""
    for start in range(0, len(batch["labels"]), size):
        yield {key: tensor[start : start + size] for key, tensor in batch.items()}
