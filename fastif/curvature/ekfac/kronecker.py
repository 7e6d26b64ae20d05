"""Kronecker-factored curvature block of a linear layer, in the eigenbasis of its factors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.truncation import IndexBlock, find_dominant_blocks

CHUNK = 2**20
"""Numbers of the vectors that are rotated together, sized for a processor's cache."""

DEVICE_CHUNK = 2**28
"""Numbers of the vectors that are rotated together on a GPU, to use all of its cores."""


@dataclass(frozen=True, eq=False)
class KroneckerBlock(Block):
    """Kronecker-factored block B = (Q_G ⊗ Q_A) diag(Λ) (Q_G ⊗ Q_A)ᵀ of a linear layer.

    A vector is viewed as the matrix X = [weight | bias] [o i] of outputs x inputs; the bias is the
    weight of one more input that is always 1. The product with B is

        Q_G (Λ ∘ Q_Gᵀ X Q_A) Q_Aᵀ

    so nothing of size (o i)² is ever formed.

    Attributes:
        weight: Coordinates of the weight in a vector; None if only the bias is attributed.
        bias: Coordinates of the bias in a vector; None if only the weight is attributed.
        outputs: Eigenvectors Q_G over the layer's outputs, one in each column.
        inputs: Eigenvectors Q_A over its inputs, one in each column; the last row is the bias.
        eigenvalue_grid: Eigenvalues Λ over outputs x inputs.
        transposed: Whether the weight in a vector is [i o] of inputs x outputs.
    """

    weight: slice | None
    bias: slice | None
    outputs: Float[Tensor, "o o"]
    inputs: Float[Tensor, "i i"]
    eigenvalue_grid: Float[Tensor, "o i"]
    transposed: bool = False

    @property
    def eigenvalues(self) -> Tensor:
        return self.eigenvalue_grid

    def apply(self, vectors: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        index_blocks = find_dominant_blocks(torch.ones_like(self.eigenvalue_grid, dtype=torch.bool))
        self._multiply_in_eigenbasis(vectors, out, 0.0, self.eigenvalue_grid, index_blocks)

    def apply_inverse(
        self,
        vectors: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        """Divide by λ, and correct along directions with eigenvalues not negligible relative to λ.

            Y = X/λ + Σ_b Q_G,b ((1/(Λ+λ) - 1/λ) ∘ Q_G,bᵀ X Q_A,b) Q_A,bᵀ

        over index blocks b of Λ that contain all entries of negligible · λ or more. Dropping
        another coordinate changes it by Λ/λ < negligible of its exact value. The coordinates are
        orthogonal, so ‖Y - exact‖ ≤ negligible ‖exact‖ for every vector.
        """
        # Algebraically 1/(Λ+λ) - 1/λ, but without cancellation where Λ is small.
        change = -self.eigenvalue_grid / (damping * (self.eigenvalue_grid + damping))
        self._multiply_in_eigenbasis(
            vectors, out, 1 / damping, change, self.select_directions(damping, negligible)
        )

    def select_directions(self, damping: float, negligible: float) -> list[IndexBlock]:
        """Return the index blocks of eigenvalues that `apply_inverse` corrects for."""
        return find_dominant_blocks(self.eigenvalue_grid >= negligible * damping)

    def tensors(self) -> dict[str, Tensor]:
        return {"outputs": self.outputs, "inputs": self.inputs, "values": self.eigenvalue_grid}

    def _multiply_in_eigenbasis(
        self,
        vectors: Tensor,
        out: Tensor,
        scale: float,
        factor: Tensor,
        index_blocks: list[IndexBlock],
    ) -> None:
        """Write scale·X + Σ_b Q_G (factor ∘ Q_Gᵀ X Q_A) Q_Aᵀ over index blocks b into `out`."""
        rotations = [
            _Rotation(self, index_block, factor, vectors.dtype) for index_block in index_blocks
        ]
        numbers = CHUNK if vectors.device.type == "cpu" else DEVICE_CHUNK
        step = max(1, numbers // self.eigenvalue_grid.numel())
        for chunk, target in zip(vectors.split(step), out.split(step), strict=True):
            for param_slice in (self.weight, self.bias):
                if param_slice is not None:
                    torch.mul(chunk[:, param_slice], scale, out=target[:, param_slice])
            for rotation in rotations:
                rotation.add_rotated_back(rotation.rotate(chunk), target)


class _Rotation:
    """Rotation into the eigenvectors of one index block, and back.

    Eigenvectors have the type of the vectors. Vectors are rotated by batched products of their
    views as matrices, which copy no vector.
    """

    def __init__(
        self, block: KroneckerBlock, index_block: IndexBlock, factor: Tensor, dtype: torch.dtype
    ) -> None:
        self.weight, self.bias = block.weight, block.bias
        self.outputs = block.outputs[:, index_block.rows].to(dtype)
        self.inputs = block.inputs[:, index_block.columns].to(dtype)
        self.transposed = block.transposed
        self.width = len(block.inputs) - (block.bias is not None)
        self.factor = factor[index_block.rows][:, index_block.columns].to(dtype)
        self.columns_first = index_block.columns_first

    def rotate(self, vectors: Tensor) -> Float[Tensor, "q k l"]:
        """Return factor ∘ Q_Gᵀ X Q_A for each vector."""
        if self.weight is not None:
            weight, inputs = self._view_as_matrices(vectors, self.weight), self.inputs[: self.width]
            if self.columns_first:
                rotated = self.outputs.T @ (weight @ inputs)
            else:
                rotated = (self.outputs.T @ weight) @ inputs
        else:
            rotated = vectors.new_zeros(len(vectors), *self.factor.shape)
        if self.bias is not None:
            own = vectors[:, self.bias] @ self.outputs
            rotated.addcmul_(own[:, :, None], self.inputs[-1])
        return rotated.mul_(self.factor)

    def add_rotated_back(self, rotated: Tensor, out: Tensor) -> None:
        """Add Q_G Y Q_Aᵀ to `out`, with Y the rotated vectors."""
        if self.weight is not None:
            weight, inputs = self._view_as_matrices(out, self.weight), self.inputs[: self.width].T
            if self.columns_first:
                weight.baddbmm_(self.outputs @ rotated, inputs.expand(len(out), -1, -1))
            else:
                weight.baddbmm_(self.outputs.expand(len(out), -1, -1), rotated @ inputs)
        if self.bias is not None:
            out[:, self.bias] += (rotated @ self.inputs[-1]) @ self.outputs.T

    def _view_as_matrices(self, vectors: Tensor, weight: slice) -> Float[Tensor, "q o w"]:
        """Return the weight's coordinates of each vector, viewed as matrices."""
        shape = (len(self.outputs), self.width)
        if self.transposed:
            return vectors[:, weight].unflatten(1, shape[::-1]).mT
        return vectors[:, weight].unflatten(1, shape)
