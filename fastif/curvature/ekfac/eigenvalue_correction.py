"""The second pass of EK-FAC: mean squares of the gradients in the factors' eigenbasis."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.accumulators import Sums, zeros
from fastif.curvature.ekfac.activations import heard_columns
from fastif.curvature.ekfac.covariance_pass import extended
from fastif.curvature.ekfac.fit_spec import Scheme
from fastif.curvature.ekfac.kronecker import Kronecker
from fastif.curvature.ekfac.parameter_groups import Group
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import Batch
from fastif.models.parameter_subset import Subset

LARGEST_CHUNK = 2**24
"""Numbers in the per-example gradients of one layer that are held at once."""


def correction_sums(
    curvature: GaussNewton, scheme: Scheme, blocks: Mapping[int, Kronecker]
) -> Sums:
    """One pass over the examples of `curvature`: "values" Σ (Q_Gᵀ g Q_A)² of each Kronecker block.

    g is the gradient of a root column of an example: the sum over all positions and calls of its
    layer. Not g is turned but its parts, Q_Gᵀ g Q_A = Σ_t (Q_Gᵀ δ_t) (Q_Aᵀ a_t)ᵀ; what is turned
    of the inputs serves all columns.
    """
    like = curvature.like
    sums = {"count": zeros(like=like)}
    for index, block in blocks.items():
        sums[f"{index}.values"] = zeros(*block.grid.shape, like=like)
    linear = scheme.subset(curvature, True)
    for batch in scheme.batches(curvature) if blocks else ():
        sums["count"] += len(batch["labels"])
        _add_batch(sums, scheme, linear, blocks, batch)
    return Sums(scheme, sums)


def _add_batch(
    sums: dict[str, Tensor],
    scheme: Scheme,
    objective: Subset,
    blocks: Mapping[int, Kronecker],
    batch: Batch,
) -> None:
    places = {group.owner: place for place, group in enumerate(scheme.groups)}
    turned = {place: _TurnedInputs(scheme.groups[place], block) for place, block in blocks.items()}
    for column in heard_columns(objective, batch):
        for layer in column:
            place = places[layer.name]
            # Often few positions reach the outputs, as the one that a last layer's head reads.
            rows, columns = layer.reach.any(1), layer.reach.any(0)
            outputs = layer.deltas[rows][:, columns] @ blocks[place].outputs
            inputs = turned[place].at(layer.inputs, rows, columns)
            sums[f"{place}.values"] += _squares(outputs, inputs)


class _TurnedInputs:
    """Q_Aᵀ a of the positions of a layer that reach the outputs, kept for the next column."""

    def __init__(self, group: Group, block: Kronecker) -> None:
        self.group, self.vectors = group, block.inputs
        self.reach: Tensor | None = None
        self.kept = block.inputs

    def at(self, inputs: Tensor, rows: Tensor, columns: Tensor) -> Float[Tensor, "b t i"]:
        reach = torch.cat([rows, columns])
        if self.reach is None or not torch.equal(self.reach, reach):
            self.kept = extended(inputs[rows][:, columns], self.group) @ self.vectors
            self.reach = reach
        return self.kept


def _squares(outputs: Float[Tensor, "b t o"], inputs: Float[Tensor, "b t i"]) -> Tensor:
    """Σ_b (Σ_t outputs_t inputs_tᵀ)², entry by entry."""
    if outputs.shape[1] == 1:  # a square of products is a product of squares
        return outputs[:, 0].square().T @ inputs[:, 0].square()
    size = outputs.shape[2] * inputs.shape[2]
    step = max(1, LARGEST_CHUNK // size)
    total = zeros(outputs.shape[2], inputs.shape[2], like=outputs)
    for some, others in zip(outputs.split(step), inputs.split(step), strict=True):
        total += torch.bmm(some.mT, others).square_().sum(0)
    return total
