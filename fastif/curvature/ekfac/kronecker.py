"""The block of a linear layer, in the eigenbasis of its Kronecker factors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.truncation import IndexBlock, find_dominant_blocks

CHUNK = 2**20
"""Numbers of rows that are turned together: what stays in a processor's cache."""


@dataclass(frozen=True, eq=False)
class KroneckerBlock(Block):
    """B = (Q_G ⊗ Q_A) diag(Λ) (Q_G ⊗ Q_A)ᵀ on V = [weight | bias] of a linear layer.

    A row is read as the matrix V [o i]: outputs by inputs, the bias being the weight of one more
    input that is always 1. Then V B = Q_G (Λ ∘ Q_Gᵀ V Q_A) Q_Aᵀ; nothing of size (o i)² exists.

    Args:
        weight: where the weight stands in a row, None if only the bias is attributed.
        bias: where the bias stands, None if only the weight is attributed.
        outputs: Q_G, eigenvectors over the layer's outputs.
        inputs: Q_A, eigenvectors over its inputs; the last entry of each belongs to the bias.
        eigenvalue_grid: Λ.
    """

    weight: slice | None
    bias: slice | None
    outputs: Float[Tensor, "o o"]
    inputs: Float[Tensor, "i i"]
    eigenvalue_grid: Float[Tensor, "o i"]

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
        """V / λ, and a correction along the directions in which Λ is not negligible beside λ.

            X = V/λ + Σ_k Q_G,k ((1/(Λ+λ) - 1/λ) ∘ Q_G,kᵀ V Q_A,k) Q_A,kᵀ

        over boxes k of rows and columns of Λ that hold all its entries of negligible · λ or more.
        What is dropped of any other coordinate is Λ/λ < negligible of its true value, and the
        coordinates are orthogonal, so ‖X - exact‖ ≤ negligible ‖exact‖ for every row.
        """
        # Not 1/(Λ+λ) - 1/λ, which loses digits where Λ is small.
        change = -self.eigenvalue_grid / (damping * (self.eigenvalue_grid + damping))
        self._multiply_in_eigenbasis(
            vectors, out, 1 / damping, change, self.select_directions(damping, negligible)
        )

    def select_directions(self, damping: float, negligible: float) -> list[IndexBlock]:
        """The directions over outputs and over inputs that `apply_inverse` turns a row into."""
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
        """Out = scale V + Σ over boxes Q_G (factor ∘ Q_Gᵀ V Q_A) Q_Aᵀ."""
        rotations = [_Rotation(self, index_block, factor) for index_block in index_blocks]
        step = max(1, CHUNK // self.eigenvalue_grid.numel())
        for chunk, target in zip(vectors.split(step), out.split(step), strict=True):
            for param_slice in (self.weight, self.bias):
                if param_slice is not None:
                    torch.mul(chunk[:, param_slice], scale, out=target[:, param_slice])
            for rotation in rotations:
                rotation.add_rotated_back(rotation.rotate(chunk), target)


class _Rotation:
    """Into the directions of one box and back."""

    def __init__(self, block: KroneckerBlock, index_block: IndexBlock, factor: Tensor) -> None:
        self.weight, self.bias = block.weight, block.bias
        self.outputs, self.inputs = (
            block.outputs[:, index_block.rows],
            block.inputs[:, index_block.columns],
        )
        self.width = len(block.inputs) - (block.bias is not None)
        self.factor = factor[index_block.rows][:, index_block.columns]
        self.columns_first = index_block.columns_first

    def rotate(self, vectors: Tensor) -> Float[Tensor, "q k l"]:
        """Factor ∘ Q_Gᵀ V Q_A."""
        rotated = vectors.new_zeros(len(vectors), *self.factor.shape)
        if self.weight is not None:
            weight, inputs = self._view_as_matrices(vectors, self.weight), self.inputs[: self.width]
            if self.columns_first:
                rotated = self.outputs.T @ (weight @ inputs)
            else:
                rotated = (self.outputs.T @ weight) @ inputs
        if self.bias is not None:
            rotated += (vectors[:, self.bias] @ self.outputs)[:, :, None] * self.inputs[-1]
        return rotated.mul_(self.factor)

    def add_rotated_back(self, rotated: Tensor, out: Tensor) -> None:
        """Out += Q_G turned Q_Aᵀ."""
        if self.weight is not None:
            weight, inputs = self._view_as_matrices(out, self.weight), self.inputs[: self.width].T
            if self.columns_first:
                weight.baddbmm_(self.outputs @ rotated, inputs.expand(len(out), -1, -1))
            else:
                weight.baddbmm_(self.outputs.expand(len(out), -1, -1), rotated @ inputs)
        if self.bias is not None:
            out[:, self.bias] += (rotated @ self.inputs[-1]) @ self.outputs.T

    def _view_as_matrices(self, vectors: Tensor, weight: slice) -> Float[Tensor, "q o w"]:
        """The weight's places of the rows, seen as matrices."""
        return vectors[:, weight].unflatten(1, (len(self.outputs), self.width))
