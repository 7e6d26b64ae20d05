"""Blocks from the sums of the first pass of EK-FAC."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.diagonal_block import Diagonal
from fastif.curvature.ekfac.eigen_block import Eigen
from fastif.curvature.ekfac.kronecker import Kronecker
from fastif.curvature.ekfac.parameter_groups import Group
from fastif.errors import InputError
from fastif.models.parameters import ParamSpace


def decomposed(sums: Mapping[str, Tensor], count: Tensor) -> dict[str, Tensor]:
    """Eigenvectors and eigenvalues of a block from its sums over `count` examples.

    Raises:
        InputError: a sum is not finite.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in sums.values()):
        raise InputError(
            "EK-FAC",
            "gradients whose squares can be summed",
            "sums that overflow",
            "Check the model: its gradients are huge.",
        )
    if "squares" in sums:
        return {"values": sums["squares"] / count}
    if "products" in sums:
        values, vectors = torch.linalg.eigh(sums["products"] / count)
        return {"vectors": vectors, "values": values.clamp_min(0)}
    outputs, over_outputs = torch.linalg.eigh(sums["outputs"] / count)
    inputs, over_inputs = torch.linalg.eigh(sums["inputs"] / sums["positions"].clamp_min(1))
    values = outputs.clamp_min(0)[:, None] * inputs.clamp_min(0)
    return {"outputs": over_outputs, "inputs": over_inputs, "values": values}


def block_of(group: Group, space: ParamSpace, parts: Mapping[str, Tensor]) -> Block:
    """The block of a group from its tensors."""
    places = space.places(group.names)
    if group.kind == "diagonal":
        return Diagonal(places[0], parts["values"])
    if group.kind == "eigen":
        return Eigen(places, parts["vectors"], parts["values"])
    found = dict(zip(group.names, places, strict=True))
    weight, bias = (found.get(group.named(own) or "") for own in ("weight", "bias"))
    return Kronecker(weight, bias, parts["outputs"], parts["inputs"], parts["values"])
