"""The block of a linear layer, in the eigenbasis of its Kronecker factors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block
from fastif.curvature.ekfac.truncation import Box, cover

CHUNK = 2**20
"""Numbers of rows that are turned together: what stays in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Kronecker(Block):
    """B = (Q_G ⊗ Q_A) diag(Λ) (Q_G ⊗ Q_A)ᵀ on V = [weight | bias] of a linear layer.

    A row is read as the matrix V [o i]: outputs by inputs, the bias being the weight of one more
    input that is always 1. Then V B = Q_G (Λ ∘ Q_Gᵀ V Q_A) Q_Aᵀ; nothing of size (o i)² exists.

    Args:
        weight: where the weight stands in a row, None if only the bias is attributed.
        bias: where the bias stands, None if only the weight is attributed.
        outputs: Q_G, eigenvectors over the layer's outputs.
        inputs: Q_A, eigenvectors over its inputs; the last entry of each belongs to the bias.
        grid: Λ.
    """

    weight: slice | None
    bias: slice | None
    outputs: Float[Tensor, "o o"]
    inputs: Float[Tensor, "i i"]
    grid: Float[Tensor, "o i"]

    @property
    def values(self) -> Tensor:
        return self.grid

    def apply(self, rows: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        every = cover(torch.ones_like(self.grid, dtype=torch.bool))
        self._turn(rows, out, 0.0, self.grid, every)

    def inverse(
        self,
        rows: Float[Tensor, "q p"],
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
        change = -self.grid / (damping * (self.grid + damping))
        self._turn(rows, out, 1 / damping, change, self.kept(damping, negligible))

    def kept(self, damping: float, negligible: float) -> list[Box]:
        """The directions over outputs and over inputs that `inverse` turns a row into."""
        return cover(self.grid >= negligible * damping)

    def tensors(self) -> dict[str, Tensor]:
        return {"outputs": self.outputs, "inputs": self.inputs, "values": self.grid}

    def _turn(
        self, rows: Tensor, out: Tensor, scale: float, factor: Tensor, boxes: list[Box]
    ) -> None:
        """Out = scale V + Σ over boxes Q_G (factor ∘ Q_Gᵀ V Q_A) Q_Aᵀ."""
        turns = [_Turn(self, box, factor) for box in boxes]
        step = max(1, CHUNK // self.grid.numel())
        for part, target in zip(rows.split(step), out.split(step), strict=True):
            for place in (self.weight, self.bias):
                if place is not None:
                    torch.mul(part[:, place], scale, out=target[:, place])
            for turn in turns:
                turn.add_back(turn.turned(part), target)


class _Turn:
    """Into the directions of one box and back."""

    def __init__(self, block: Kronecker, box: Box, factor: Tensor) -> None:
        self.weight, self.bias = block.weight, block.bias
        self.outputs, self.inputs = block.outputs[:, box.rows], block.inputs[:, box.columns]
        self.width = len(block.inputs) - (block.bias is not None)
        self.factor = factor[box.rows][:, box.columns]
        self.columns_first = box.columns_first

    def turned(self, rows: Tensor) -> Float[Tensor, "q k l"]:
        """Factor ∘ Q_Gᵀ V Q_A."""
        turned = rows.new_zeros(len(rows), *self.factor.shape)
        if self.weight is not None:
            weight, inputs = self._matrix(rows, self.weight), self.inputs[: self.width]
            if self.columns_first:
                turned = self.outputs.T @ (weight @ inputs)
            else:
                turned = (self.outputs.T @ weight) @ inputs
        if self.bias is not None:
            turned += (rows[:, self.bias] @ self.outputs)[:, :, None] * self.inputs[-1]
        return turned.mul_(self.factor)

    def add_back(self, turned: Tensor, out: Tensor) -> None:
        """Out += Q_G turned Q_Aᵀ."""
        if self.weight is not None:
            weight, inputs = self._matrix(out, self.weight), self.inputs[: self.width].T
            if self.columns_first:
                weight.baddbmm_(self.outputs @ turned, inputs.expand(len(out), -1, -1))
            else:
                weight.baddbmm_(self.outputs.expand(len(out), -1, -1), turned @ inputs)
        if self.bias is not None:
            out[:, self.bias] += (turned @ self.inputs[-1]) @ self.outputs.T

    def _matrix(self, rows: Tensor, weight: slice) -> Float[Tensor, "q o w"]:
        """The weight's places of the rows, seen as matrices."""
        return rows[:, weight].unflatten(1, (len(self.outputs), self.width))
