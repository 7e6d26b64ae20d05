"""Symmetric p x p matrices, known by what they do to rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.numerics.arithmetic import HALF


class LinearOperator(ABC):
    """A symmetric matrix A that can be applied to q rows at once."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number p of rows and columns."""

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """An empty tensor of the type and on the device that rows must have."""

    @abstractmethod
    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        """Rows @ A."""

    def sample(self, generator: torch.Generator, size: int) -> "LinearOperator":
        """An unbiased estimate of A from `size` examples drawn afresh; A itself if it has none."""
        return self

    def on_all_data(self) -> "LinearOperator | None":
        """The same matrix over all the examples that its own were picked from.

        The operator itself if these are all; None if it has no examples to tell it from.
        """
        return None

    @property
    def ridge(self) -> float:
        """What training itself added to the diagonal: the L2 weight decay of its objective."""
        return 0.0

    @property
    def is_semidefinite(self) -> bool:
        """Whether the matrix has no eigenvalue below 0 by its making; False where that is open."""
        return False

    def with_damping(self, damping: float) -> "DampedOperator":
        """A + (damping + ridge) * I, the only place where damping enters.

        The sum is the effective λ, the `damping` of the result. Where the minimised penalty spared
        some parameters (biases, norms), the ridge still stands on all attributed ones.
        """
        return DampedOperator(self, damping + self.ridge)

    def to_dense(self, chunk: int = 64) -> Float[Tensor, "p p"]:
        """The matrix itself; for small p."""
        identity = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.cat([self.apply(vectors) for vectors in identity.split(chunk)])


class FactoredOperator(LinearOperator):
    """A matrix given as RᵀR / count by the rows of its root R, which pass by in tiles.

    Solvers that work in the space of examples need no more than these rows.

    Attributes:
        batch_size: examples whose root rows are taken together.
    """

    batch_size: int

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of examples that the mean is taken over."""

    @property
    @abstractmethod
    def rows_per_example(self) -> int:
        """Root rows an example has."""

    @property
    def is_semidefinite(self) -> bool:
        return True

    @property
    def num_batches(self) -> int:
        """The number of batches that the examples pass by in."""
        return -(-self.count // self.batch_size)

    @abstractmethod
    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        """The root rows of one batch; batches and rows always come in the same order."""

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        total = torch.zeros_like(vectors)
        for batch_index in range(self.num_batches):
            for tile in self.factor_rows(batch_index):
                tile.accumulate(total, tile.dot(vectors))
        return total.div_(self.count)

    def compute_factor_coefficients(self, train: Examples) -> "FactorCoefficients | None":
        """How the loss gradients of these training examples are made of the root rows.

        None if they are not, or the root rows are not those of just these examples.
        """
        return None

    @property
    def nonfinite_ids(self) -> Int[Tensor, " d"]:
        """Examples whose root rows were found not to be finite, and count as zero."""
        return torch.empty(0, dtype=torch.long)


@dataclass(frozen=True, eq=False)
class FactorCoefficients:
    """Loss gradients in root rows: ∇L(i) = Σ weights[r] R[r] over the rows r with owners[r] = i.

    Attributes:
        owners: the training example that a root row belongs to, in the order of the rows.
        columns: the column of that example's root S_i.
        weights: its weight; NaN where the example's outputs are not finite.
    """

    owners: Int[Tensor, " r"]
    columns: Int[Tensor, " r"]
    weights: Float[Tensor, " r"]

    def sum_by_example(self, values: Float[Tensor, "q r"], count: int) -> Float[Tensor, "q n"]:
        """Of numbers for each root row (R x), those for each of `count` examples (∇L x)."""
        total = values.new_zeros(len(values), count)
        return total.index_add_(1, self.owners.to(values.device), values * self.weights.to(values))

    def arrange_by_example(self, values: Shaped[Tensor, " r"]) -> Shaped[Tensor, "n c"]:
        """Numbers of the root rows, example by example and column by column."""
        size = (int(self.owners.max()) + 1, int(self.columns.max()) + 1)
        table = values.new_zeros(size)
        table[self.owners, self.columns] = values
        return table


@dataclass(frozen=True, eq=False)
class DenseOperator(LinearOperator):
    """A matrix held in memory.

    >>> DenseOperator(2 * torch.eye(2)).with_damping(0.5).apply(torch.ones(1, 2))
    tensor([[2.5000, 2.5000]])
    """

    matrix: Float[Tensor, "p p"]

    @property
    def size(self) -> int:
        return len(self.matrix)

    @property
    def like(self) -> Tensor:
        return self.matrix.new_empty(0)

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        return vectors @ self.matrix

    def on_all_data(self) -> "DenseOperator":
        return self


@dataclass(frozen=True, eq=False)
class DampedOperator(LinearOperator):
    """A + λI. The λ here is the effective one: no solver scales or adds to it."""

    operator: LinearOperator
    damping: float

    def __post_init__(self) -> None:
        if not self.damping >= 0:
            raise InputError(
                "damping", "a number >= 0", f"{self.damping}", "Take a positive damping, say 0.1."
            )
        if self.operator.like.dtype in HALF:
            raise InputError(
                "curvature",
                "parameters in single precision at least, or no residual says how a solve went",
                f"{self.operator.like.dtype}",
                "Give the objective the same model in single precision: model.float().",
            )

    @property
    def size(self) -> int:
        return self.operator.size

    @property
    def like(self) -> Tensor:
        return self.operator.like

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        return self.operator.apply(vectors).add_(vectors, alpha=self.damping)

    def sample(self, generator: torch.Generator, size: int) -> LinearOperator:
        return DampedOperator(self.operator.sample(generator, size), self.damping)
