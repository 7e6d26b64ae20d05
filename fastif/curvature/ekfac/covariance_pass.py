"""The first pass of EK-FAC: sums of products of inputs, and of output gradients."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fastif.curvature.ekfac.accumulators import Sums, zeros
from fastif.curvature.ekfac.activations import Heard, heard_columns
from fastif.curvature.ekfac.eigen_block import gather
from fastif.curvature.ekfac.fit_spec import Scheme
from fastif.curvature.ekfac.parameter_groups import Group
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import Batch
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective
from fastif.models.parameter_subset import Subset

LARGEST_TILE = 2**25
"""Numbers in the per-example gradients of other than linear layers that are held at once."""


def factor_sums(curvature: GaussNewton, scheme: Scheme) -> Sums:
    """One pass over the examples of `curvature`.

    For a linear layer: "inputs" Σ a aᵀ and "positions", their number; "outputs" Σ δ δᵀ over root
    columns. For a dense block: "products" Σ g gᵀ. For a diagonal: "squares" Σ g².

    Only positions that reach the outputs count, so the sums do not depend on padding. An example
    whose gradients are not finite counts as zero, as in the Gauss-Newton matrix.
    """
    sums = _empty(curvature, scheme)
    linear, rest = scheme.subset(curvature, True), scheme.subset(curvature, False)
    gradients = Gradients(rest)
    for batch in scheme.batches(curvature):
        sums["count"] += len(batch["labels"])
        if linear.params:
            _add_linear(sums, scheme, linear, batch)
        if rest.params:
            _add_rest(sums, scheme, gradients, batch)
    return Sums(scheme, sums)


def _empty(curvature: GaussNewton, scheme: Scheme) -> dict[str, Tensor]:
    like, params = curvature.like, curvature.objective.params
    sums = {"count": zeros(like=like)}
    for index, group in enumerate(scheme.groups):
        size = sum(params[name].numel() for name in group.names)
        if group.kind == "diagonal":
            sums[f"{index}.squares"] = zeros(size, like=like)
        elif group.kind == "eigen":
            sums[f"{index}.products"] = zeros(size, size, like=like)
        else:
            outputs, inputs = sides(group, curvature.objective)
            sums[f"{index}.outputs"] = zeros(outputs, outputs, like=like)
            sums[f"{index}.inputs"] = zeros(inputs, inputs, like=like)
            sums[f"{index}.positions"] = zeros(like=like)
    return sums


def sides(group: Group, objective: Objective) -> tuple[int, int]:
    """Outputs and inputs of a linear layer, the bias counting as one more input."""
    weight = group.named("weight")
    outputs = len(objective.params[group.names[0]])
    inputs = objective.params[weight].shape[1] if weight else 0
    return outputs, inputs + (group.named("bias") is not None)


def _add_linear(sums: dict[str, Tensor], scheme: Scheme, objective: Subset, batch: Batch) -> None:
    places = {group.owner: place for place, group in enumerate(scheme.groups)}
    met: dict[str, Heard] = {}
    for column in heard_columns(objective, batch):
        for layer in column:
            hit = layer.deltas[layer.reach]
            sums[f"{places[layer.name]}.outputs"] += hit.T @ hit
            before = met.get(layer.name, layer)
            met[layer.name] = replace(layer, reach=layer.reach | before.reach)
    for name, layer in met.items():
        place = places[name]
        inputs = extended(layer.inputs[layer.reach], scheme.groups[place])
        sums[f"{place}.inputs"] += inputs.T @ inputs
        sums[f"{place}.positions"] += len(inputs)


def extended(inputs: Tensor, group: Group) -> Tensor:
    """Inputs of a layer as its gradient sees them: 1 is appended for the bias."""
    parts = [inputs] if group.named("weight") else []
    if group.named("bias"):
        parts.append(inputs.new_ones(*inputs.shape[:-1], 1))
    return torch.cat(parts, -1)


def _add_rest(sums: dict[str, Tensor], scheme: Scheme, gradients: Gradients, batch: Batch) -> None:
    space = gradients.objective.space
    for few in _slices(batch, max(1, LARGEST_TILE // space.size)):
        for tile in gradients.of_roots(few):
            tile.rows[~tile.finite()] = 0
            for index, group in enumerate(scheme.groups):
                if group.kind == "diagonal":
                    rows = tile.rows[:, space.places(group.names)[0]]
                    sums[f"{index}.squares"] += rows.square().sum(0)
                elif group.kind == "eigen":
                    rows = gather(tile.rows, space.places(group.names)).double()
                    sums[f"{index}.products"] += rows.T @ rows


def _slices(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch, a few examples at a time."""
    for start in range(0, len(batch["labels"]), size):
        yield {key: tensor[start : start + size] for key, tensor in batch.items()}
