"""Per-example gradients of layers as sums of outer products, which are never formed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.arithmetic import HALF, upcast_half
from fastif.numerics.blocked_dot import pairwise_dots
from fastif.numerics.scratch import borrow_rows

MAX_NUMBERS = 2**24
"""Numbers of an intermediate result in memory; larger ones are computed in parts."""

MAX_FORMED_BYTES = {"cpu": 2**28, "cuda": 2**32}
"""Memory of the rows that a product with vectors forms at once, by device.

A matrix product reads all vectors again for every part of the rows. Parts of as many rows as there
are vectors keep it bound by arithmetic: hundreds of rows on a GPU.
"""

MAX_NORM = 1e18
"""Largest norm of factors and of their products, with squares below the largest single number."""

WRITING_COST = 40
"""Multiplications that take as long as writing and reading one number of a formed gradient."""


@dataclass(frozen=True, eq=False)
class OuterProducts:
    """Gradients Σ_t δ_t a_tᵀ of one linear layer over t positions, and Σ_t δ_t of its bias.

    The positions of a convolution are those of its output, with patches as inputs; those of a layer
    that is called several times are the positions of all calls.

    The k columns of the GGN factor share the inputs a of their e examples. The rows are those of
    the first column for all examples, then those of the second, and so on. An inner product of two
    rows is Σ_ts (a_t·a'_s + 1)(δ_t·δ'_s), without the 1 if the bias is not attributed.

    Attributes:
        weight: Columns of the weight [o i] in a gradient.
        bias: Columns of the bias in a gradient; None if it is not attributed.
        inputs: Inputs a of the layer.
        deltas: Output gradients δ.
        is_transposed: Whether the weight is [i o] in a gradient.
    """

    weight: slice
    bias: slice | None
    inputs: Float[Tensor, "e t i"]
    deltas: Float[Tensor, "k e t o"]
    is_transposed: bool = False

    def __len__(self) -> int:
        return self.deltas.shape[0] * self.deltas.shape[1]

    @property
    def byte_count(self) -> int:
        """Memory of the factors in bytes."""
        return (self.inputs.numel() + self.deltas.numel()) * self.inputs.element_size()

    @property
    def product_size(self) -> float:
        """Multiplications of the product of two rows, of inputs once for all k columns of both.

        It includes the time to write and read t² numbers.
        """
        columns, positions = len(self.deltas), self.inputs.shape[1]
        outputs, inputs = self.deltas.shape[3], self.inputs.shape[2]
        return positions**2 * (outputs + inputs / columns**2 + WRITING_COST)

    def dot(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q r"]:
        """Return the inner products of q vectors with the r rows."""
        matrices = vectors[:, self.weight]
        if self._is_cheaper_formed(len(vectors)):
            formed = self._iterate_formed()
            total = torch.cat([pairwise_dots(matrices, rows) for _, rows in formed], dim=1)
        else:
            parts = map(self._multiply, matrices.split(self._chunk_size()))
            total = upcast_half(torch.cat(list(parts)))
        if self.bias is not None:
            total += pairwise_dots(vectors[:, self.bias], self._delta_sums)
        return total

    def accumulate(self, totals: Float[Tensor, "q p"], weights: Float[Tensor, "q r"]) -> None:
        """Add weights @ rows to `totals`, in place."""
        matrices = totals[:, self.weight]
        if self._is_cheaper_formed(len(totals)):
            for span, rows in self._iterate_formed():
                matrices.addmm_(weights[:, span], rows)
        else:
            size = self._chunk_size()
            for part, own in zip(matrices.split(size), weights.split(size), strict=True):
                self._accumulate_matrices(part, own)
        if self.bias is not None:
            totals[:, self.bias].addmm_(weights, self._delta_sums)

    def add_products(self, other: "OuterProducts", total: Float[Tensor, "r m"]) -> None:
        """Add the inner products with the m rows of another tile to `total`, in place."""
        count = self.inputs.shape[1] * other.inputs.shape[1] * len(self.deltas) * len(other)
        block = total.unflatten(0, self.deltas.shape[:2]).unflatten(2, other.deltas.shape[:2])
        for span in _split_range(self.inputs.shape[0], max(1, MAX_NUMBERS // max(1, count))):
            self._add_block(other, span, block[:, span])

    def squared_norms(self) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
        """Return the squared norms of the rows in weight and bias, in double precision."""
        inputs, deltas = self.inputs.double(), self.deltas.double()
        if inputs.shape[1] == 1:
            delta_squares = deltas.square().sum((2, 3))
            weight = delta_squares * inputs.square().sum((1, 2))
        else:
            weight = (deltas @ deltas.mT * (inputs @ inputs.mT)).sum((2, 3)).clamp_min_(0)
            delta_squares = deltas.sum(2).square().sum(2)
        if self.bias is None:
            delta_squares = torch.zeros_like(delta_squares)
        return weight.flatten(), delta_squares.flatten()

    def finite_rows(self) -> Bool[Tensor, " r"]:
        """Mask of the rows with finite factors, small enough that no square overflows."""
        inputs, deltas = (
            factor.norm(dim=-1, dtype=torch.float32 if factor.dtype in HALF else None).amax(-1)
            for factor in (self.inputs, self.deltas)
        )
        products = inputs * deltas * self.inputs.shape[1]
        return (torch.maximum(torch.maximum(inputs, deltas), products) < MAX_NORM).flatten()

    def write(self, rows: Float[Tensor, "r p"]) -> None:
        """Write all rows into their columns of a matrix."""
        examples = self.inputs.shape[0]
        for column, deltas in enumerate(self.deltas):
            span = slice(column * examples, (column + 1) * examples)
            block = self._view_matrices(rows[span, self.weight])
            torch.bmm(deltas.mT, self.inputs, out=block)
            if self.bias is not None:
                rows[span, self.bias] = deltas.sum(1)

    def select(self, positions: Int[Tensor, " m"]) -> "OuterProducts":
        """Return some of the rows, as one column."""
        inputs = self.inputs[positions % self.inputs.shape[0]]
        return replace(self, inputs=inputs, deltas=self.deltas.flatten(0, 1)[positions][None])

    def zero_rows(self, mask: Tensor) -> "OuterProducts":
        """Return a copy in which some rows are zero."""
        mask = mask.view(*self.deltas.shape[:2], 1, 1)
        return replace(self, deltas=self.deltas.masked_fill(mask, 0))

    def copy(self) -> "OuterProducts":
        """Return a copy: the model may own the memory of a factor, and change it later."""
        return replace(self, inputs=self.inputs.clone(), deltas=self.deltas.clone())

    def is_same_pass(self, other: "OuterProducts") -> bool:
        """Whether the inputs are the same tensor, as in the columns of one batch."""
        first, second = self.inputs, other.inputs
        return (
            first.data_ptr() == second.data_ptr()
            and first.shape == second.shape
            and first.stride() == second.stride()
        )

    @property
    def _delta_sums(self) -> Float[Tensor, "r o"]:
        """Rows in the bias."""
        return self.deltas.sum(2).flatten(0, 1)

    def _view_matrices(self, weights: Float[Tensor, "q n"]) -> Float[Tensor, "q o i"]:
        """Return a view of vectors in the weight as matrices of outputs x inputs."""
        outputs, inputs = self.deltas.shape[3], self.inputs.shape[2]
        if self.is_transposed:
            return weights.unflatten(1, (inputs, outputs)).mT
        return weights.unflatten(1, (outputs, inputs))

    def _is_cheaper_formed(self, vector_count: int) -> bool:
        """Whether products with vectors take more operations by factors than by formed rows.

        Factors take q t multiplications for each entry of the weight and example, for all k columns
        together. Formed rows take k (q + t), and the time to write and read them.
        """
        columns, positions = len(self.deltas), self.inputs.shape[1]
        formed = columns * (vector_count + positions + WRITING_COST)
        return len(self) > 0 and positions > 1 and vector_count * positions > formed

    def _chunk_size(self) -> int:
        """Number of vectors whose products with the inputs are held at once."""
        return max(1, MAX_NUMBERS // max(1, self.deltas[0].numel()))

    def _multiply(self, matrices: Float[Tensor, "q n"]) -> Float[Tensor, "q r"]:
        """Return Σ_t δ_tᵀ X a_t for q matrices X, in which all columns share the products X a_t."""
        inputs = self.inputs.flatten(0, 1).expand(len(matrices), -1, -1)
        projected = torch.bmm(inputs, self._view_matrices(matrices).mT)
        examples, positions, outputs = self.deltas.shape[1:]
        by_example = projected.view(len(matrices), examples, positions * outputs).transpose(0, 1)
        dots = torch.bmm(by_example, self.deltas.flatten(2).permute(1, 2, 0))
        return dots.permute(1, 2, 0).reshape(len(matrices), len(self))

    def _accumulate_matrices(
        self, totals: Float[Tensor, "q n"], weights: Float[Tensor, "q r"]
    ) -> None:
        """Add the matrices Σ (Σ_k w_k δ_kt) a_tᵀ, in which the columns are summed first."""
        by_example = weights.unflatten(1, self.deltas.shape[:2]).permute(2, 0, 1)
        combined = torch.bmm(by_example, self.deltas.flatten(2).transpose(0, 1)).transpose(0, 1)
        inputs = self.inputs.flatten(0, 1).expand(len(weights), -1, -1)
        combined = combined.reshape(*inputs.shape[:2], self.deltas.shape[3])
        self._view_matrices(totals).baddbmm_(combined.mT, inputs)

    def _add_block(self, other: "OuterProducts", span: slice, block: Tensor) -> None:
        """Add the products of some examples to a block [k e k' e']."""
        inputs, deltas = self.inputs[span], self.deltas[:, span]
        input_dots = pairwise_dots(inputs.flatten(0, 1), other.inputs.flatten(0, 1))
        if self.bias is not None:
            input_dots += 1
        delta_dots = pairwise_dots(deltas.flatten(0, 2), other.deltas.flatten(0, 2))
        sizes = (*deltas.shape[:3], *other.deltas.shape[:3])
        delta_dots = delta_dots.view(sizes)
        input_dots = input_dots.view(1, *sizes[1:3], 1, *sizes[4:])
        if sizes[2] == sizes[5] == 1:
            block.addcmul_(delta_dots[:, :, 0, :, :, 0], input_dots[:, :, 0, :, :, 0])
        else:
            block.add_(delta_dots.mul_(input_dots).sum((2, 5)))

    def _iterate_formed(self) -> Iterator[tuple[slice, Float[Tensor, "m n"]]]:
        """Iterate over the rows in the weight, a bounded number at once, in memory used again."""
        positions = torch.arange(len(self), device=self.inputs.device)
        entries = self.deltas.shape[3] * self.inputs.shape[2]
        limit = MAX_FORMED_BYTES.get(self.inputs.device.type, 2**28) // self.inputs.element_size()
        for span in _split_range(len(self), max(1, limit // entries)):
            part = self.select(positions[span])
            left, right = part.deltas[0], part.inputs
            left, right = (right, left) if self.is_transposed else (left, right)
            rows = borrow_rows(left, len(left), entries)
            torch.bmm(left.mT, right, out=rows.view(len(left), left.shape[2], -1))
            yield span, rows


def _split_range(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def join_columns(parts: Sequence[OuterProducts]) -> OuterProducts:
    """Join columns of the same examples, which share their inputs."""
    return replace(parts[0], deltas=torch.cat([part.deltas for part in parts]))


def join_examples(parts: Sequence[OuterProducts]) -> OuterProducts:
    """Join examples of single columns, with equal numbers of positions."""
    inputs = torch.cat([part.inputs for part in parts])
    return replace(parts[0], inputs=inputs, deltas=torch.cat([p.deltas for p in parts], dim=1))
