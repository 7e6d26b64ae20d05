"""Second pass of an EK-FAC fit: second moments of gradients in the Kronecker eigenbasis."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.accumulators import EkfacSums, zero_sum
from fastif.curvature.ekfac.activations import capture_layer_activations
from fastif.curvature.ekfac.covariance_pass import append_ones
from fastif.curvature.ekfac.fit_spec import EkfacSpec
from fastif.curvature.ekfac.kronecker import KroneckerBlock
from fastif.curvature.ekfac.parameter_groups import ParameterGroup
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import Batch
from fastif.models.parameter_subset import ParameterSubset

MAX_CHUNK_SIZE = 2**24
"""Numbers in the per-example gradients of one layer that are in memory at once."""


def compute_correction_sums(
    curvature: GaussNewton, spec: EkfacSpec, blocks: Mapping[int, KroneckerBlock]
) -> EkfacSums:
    """Sum the eigenvalue corrections Σ (Q_Gᵀ g Q_A)² of each Kronecker block (George et al., 2018).

    g is the gradient of one example and one column of S_i in the layer's weights, a sum over all
    positions and calls. It is rotated by its parts,

        Q_Gᵀ g Q_A = Σ_t (Q_Gᵀ δ_t) (Q_Aᵀ a_t)ᵀ

    and the rotated inputs are computed once for all columns.

    Args:
        curvature: Gauss-Newton matrix of the examples.
        spec: Parameter groups and sampling settings of the fit.
        blocks: Kronecker blocks of the first pass by the position of their group.

    Returns:
        Sums named "values", with the shape of each block's eigenvalue grid.
    """
    like = curvature.like
    sums = {"count": zero_sum(like=like)}
    for index, block in blocks.items():
        sums[f"{index}.values"] = zero_sum(*block.eigenvalue_grid.shape, like=like)
    linear_objective = spec.make_subset(curvature, True)
    for batch in spec.iterate_batches(curvature) if blocks else ():
        sums["count"] += len(batch["labels"])
        _add_batch(sums, spec, linear_objective, blocks, batch)
    return EkfacSums(spec, sums)


def _add_batch(
    sums: dict[str, Tensor],
    spec: EkfacSpec,
    objective: ParameterSubset,
    blocks: Mapping[int, KroneckerBlock],
    batch: Batch,
) -> None:
    group_indices = {group.owner: group_index for group_index, group in enumerate(spec.groups)}
    rotated_inputs = {
        group_index: _RotatedInputs(spec.groups[group_index], block)
        for group_index, block in blocks.items()
    }
    for column in capture_layer_activations(objective, batch):
        for layer in column:
            group_index = group_indices[layer.name]
            # Often few positions have a path to the outputs, such as the pooled token of a head.
            rows, columns = layer.reach.any(1), layer.reach.any(0)
            outputs = layer.deltas[rows][:, columns] @ blocks[group_index].outputs
            inputs = rotated_inputs[group_index].rotate(layer.inputs, rows, columns)
            sums[f"{group_index}.values"] += _sum_squares(outputs, inputs)


class _RotatedInputs:
    """Rotated inputs Q_Aᵀ a at positions with a path to the outputs, cached over columns."""

    def __init__(self, group: ParameterGroup, block: KroneckerBlock) -> None:
        self.group, self.vectors = group, block.inputs
        self.reach: Tensor | None = None
        self.kept = block.inputs

    def rotate(self, inputs: Tensor, rows: Tensor, columns: Tensor) -> Float[Tensor, "b t i"]:
        reach = torch.cat([rows, columns])
        if self.reach is None or not torch.equal(self.reach, reach):
            self.kept = append_ones(inputs[rows][:, columns], self.group) @ self.vectors
            self.reach = reach
        return self.kept


def _sum_squares(outputs: Float[Tensor, "b t o"], inputs: Float[Tensor, "b t i"]) -> Tensor:
    """Σ_b (Σ_t outputs_t inputs_tᵀ)², entry by entry."""
    if outputs.shape[1] == 1:  # the square of a rank-1 entry is a product of squares
        return outputs[:, 0].square().T @ inputs[:, 0].square()
    size = outputs.shape[2] * inputs.shape[2]
    step = max(1, MAX_CHUNK_SIZE // size)
    total = zero_sum(outputs.shape[2], inputs.shape[2], like=outputs)
    for output_chunk, input_chunk in zip(outputs.split(step), inputs.split(step), strict=True):
        total += torch.bmm(output_chunk.mT, input_chunk).square_().sum(0)
    return total
