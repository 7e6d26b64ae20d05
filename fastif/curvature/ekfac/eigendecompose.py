"""Eigendecomposition of the covariances from the first pass of an EK-FAC fit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.diagonal_block import DiagonalBlock
from fastif.curvature.ekfac.eigen_block import EigenBlock
from fastif.curvature.ekfac.kronecker import KroneckerBlock
from fastif.curvature.ekfac.parameter_groups import ParameterGroup
from fastif.errors import InputError
from fastif.models.parameters import ParamSpace


def eigendecompose(sums: Mapping[str, Tensor], count: Tensor) -> dict[str, Tensor]:
    """Return eigenvectors and eigenvalues of a block from its sums over examples.

    Args:
        sums: Sums of one block by name, see `compute_covariance_sums`.
        count: Number of examples in the sums.

    Returns:
        The tensors of the block; eigenvalues of a Kronecker block are the K-FAC products.

    Raises:
        InputError: If a sum is not finite.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in sums.values()):
        raise InputError(
            "EK-FAC",
            "finite sums of squared gradients",
            "sums with overflow",
            "Check the model and its loss: the squared gradients exceed the floating-point range.",
        )
    if "squares" in sums:
        return {"values": sums["squares"] / count}
    if "products" in sums:
        values, vectors = torch.linalg.eigh(sums["products"] / count)
        return {"vectors": vectors, "values": values.clamp_min(0)}
    outputs, output_vectors = torch.linalg.eigh(sums["outputs"] / count)
    inputs, input_vectors = torch.linalg.eigh(sums["inputs"] / sums["positions"].clamp_min(1))
    values = outputs.clamp_min(0)[:, None] * inputs.clamp_min(0)
    return {"outputs": output_vectors, "inputs": input_vectors, "values": values}


def make_block(group: ParameterGroup, space: ParamSpace, tensors: Mapping[str, Tensor]) -> Block:
    """Return the block of a parameter group, made from its tensors."""
    param_slices = space.select_slices(group.names)
    if group.kind == "diagonal":
        return DiagonalBlock(param_slices[0], tensors["values"])
    if group.kind == "eigen":
        return EigenBlock(param_slices, tensors["vectors"], tensors["values"])
    slices_by_name = dict(zip(group.names, param_slices, strict=True))
    weight, bias = (
        slices_by_name.get(group.find_name(local_name) or "") for local_name in ("weight", "bias")
    )
    return KroneckerBlock(
        weight,
        bias,
        tensors["outputs"],
        tensors["inputs"],
        tensors["values"],
        group.is_transposed,
    )
