"""Symmetric p x p linear operators, defined by their products with vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.structured_tile import merge_columns
from fastif.numerics.arithmetic import HALF


class LinearOperator(ABC):
    """Interface of a symmetric matrix A [p p] that is known by its matrix-vector products."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number p of rows and columns: the number of attributed parameters."""

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """Empty tensor with the dtype and device that vectors must have."""

    @abstractmethod
    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        """Return the products of A with q vectors: `vectors @ A`, one product in each row."""

    def sample(self, generator: torch.Generator, size: int) -> "LinearOperator":
        """Return an unbiased mini-batch estimate of A from `size` sampled examples.

        Args:
            generator: Source of randomness.
            size: Number of examples, sampled uniformly with replacement.

        Returns:
            An operator on the sampled examples; A itself if it is no mean over examples.
        """
        return self

    def on_all_data(self) -> "LinearOperator | None":
        """Return this curvature as a mean over all examples of its table.

        Returns:
            The operator itself if its mean is over all of them; None if it holds no examples.
        """
        return None

    @property
    def ridge(self) -> float:
        """L2 weight decay of training, which adds ridge·I to the Hessian of what was minimised."""
        return 0.0

    @property
    def is_semidefinite(self) -> bool:
        """Whether the construction rules out negative eigenvalues; False if that is open."""
        return False

    def with_damping(self, damping: float) -> "DampedOperator":
        """Return the damped operator A + λI with λ = damping + ridge.

        This is the only place where damping is added: λ is the effective damping, the `damping` of
        the result. Where the penalty of training spared some parameters (biases, norms), the ridge
        is still added for all attributed ones.

        Args:
            damping: Damping in addition to the weight decay of training, 0 or more, in units of the
                curvature's eigenvalues.

        Raises:
            InputError: If λ is negative or NaN, or the parameters are in half precision.
        """
        return DampedOperator(self, damping + self.ridge)

    def to_dense(self, chunk: int = 64) -> Float[Tensor, "p p"]:
        """Return A as a dense p x p matrix, from `chunk` products at a time; for small p."""
        identity = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.cat([self.apply(vectors) for vectors in identity.split(chunk)])


class FactoredOperator(LinearOperator):
    """Positive semi-definite matrix G = VᵀV / n, given by the rows of its factor V.

    V [r p] is the factor, such as the GGN factor; its r rows (factor rows) are computed in tiles
    and never all held. Solvers in the space of examples need nothing else.

    Attributes:
        batch_size: Number of examples with factor rows in memory at once.
    """

    batch_size: int

    @property
    @abstractmethod
    def count(self) -> int:
        """Number n of examples in the mean."""

    @property
    @abstractmethod
    def rows_per_example(self) -> int:
        """Number of factor rows of one example; r = n · `rows_per_example`."""

    @property
    def is_semidefinite(self) -> bool:
        return True

    @property
    def num_batches(self) -> int:
        """Number of batches into which the n examples are split."""
        return -(-self.count // self.batch_size)

    @abstractmethod
    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        """Compute the factor rows of one batch in tiles; the order of batches and rows is fixed."""

    def merge_factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        """Compute the factor rows of one batch in equal order, in fewer tiles where possible."""
        return merge_columns(self.factor_rows(batch_index))

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        total = torch.zeros_like(vectors)
        for batch_index in range(self.num_batches):
            for tile in self.merge_factor_rows(batch_index):
                tile.accumulate(total, tile.dot(vectors))
        return total.div_(self.count)

    def to_dense(self, chunk: int = 64) -> Float[Tensor, "p p"]:
        """Return G as a dense p x p matrix, with each factor row computed once; for small p."""
        total = self.like.new_zeros(self.size, self.size)
        for batch_index in range(self.num_batches):
            for tile in self.merge_factor_rows(batch_index):
                tile.accumulate(total, tile.gradients.T)
        return total.div_(self.count)

    def compute_factor_coefficients(self, train: Examples) -> "FactorCoefficients | None":
        """Express the loss gradients of training examples as combinations of factor rows.

        Args:
            train: Training examples with the loss gradients to express.

        Returns:
            Coefficients of each factor row; None if loss gradients are no combination of factor
            rows, or the operator is a mean over other examples than these.
        """
        return None

    @property
    def nonfinite_ids(self) -> Int[Tensor, " d"]:
        """Positions of examples with NaN or infinity in their factor rows; they count as zero."""
        return torch.empty(0, dtype=torch.long)


@dataclass(frozen=True, eq=False)
class FactorCoefficients:
    """Loss gradients as combinations of factor rows: ∇L(i) = Σ u_j V_j over the rows of example i.

    Attributes:
        owners: Position of the training example that each of the r factor rows belongs to.
        columns: Column of that example's square root S_i of the loss Hessian.
        weights: Coefficient u_j of each factor row; NaN where the outputs of the example are not
            finite.
    """

    owners: Int[Tensor, " r"]
    columns: Int[Tensor, " r"]
    weights: Float[Tensor, " r"]

    def sum_by_example(self, values: Float[Tensor, "q r"], count: int) -> Float[Tensor, "q n"]:
        """Combine values of factor rows (V x) into values of loss gradients (∇Lᵀ x).

        Args:
            values: Value of each of the r factor rows for q vectors x.
            count: Number n of training examples.

        Returns:
            Value of each training example for each vector.
        """
        total = values.new_zeros(len(values), count)
        return total.index_add_(1, self.owners.to(values.device), values * self.weights.to(values))

    def arrange_by_example(self, values: Shaped[Tensor, " r"]) -> Shaped[Tensor, "n c"]:
        """Arrange one value for each factor row in a table of examples x columns."""
        size = (int(self.owners.max()) + 1, int(self.columns.max()) + 1)
        table = values.new_zeros(size)
        table[self.owners, self.columns] = values
        return table


@dataclass(frozen=True, eq=False)
class DenseOperator(LinearOperator):
    """Symmetric p x p matrix held in memory.

    Attributes:
        matrix: Entries of the matrix, in single or double precision.

    Examples:
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
    """Damped operator A + λI; λ is the effective damping, which no solver scales or adds to.

    Attributes:
        operator: Curvature A without damping.
        damping: Effective damping λ, 0 or more.

    Raises:
        InputError: If λ is negative or NaN, or vectors of A are in half precision.
    """

    operator: LinearOperator
    damping: float

    def __post_init__(self) -> None:
        if not self.damping >= 0:
            raise InputError(
                "damping", "a number >= 0", f"{self.damping}", "Set a positive damping, say 0.1."
            )
        if self.operator.like.dtype in HALF:
            raise InputError(
                "curvature",
                "parameters in single or double precision, which the residual of a solve needs",
                f"{self.operator.like.dtype}",
                "Convert the model to single precision before making the objective: model.float().",
            )

    @property
    def size(self) -> int:
        return self.operator.size

    @property
    def like(self) -> Tensor:
        return self.operator.like

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        return self.operator.apply(vectors).add_(vectors, alpha=self.damping)

    def to_dense(self, chunk: int = 64) -> Float[Tensor, "p p"]:
        """Return A + λI as a dense p x p matrix."""
        matrix = self.operator.to_dense(chunk).clone()
        matrix.diagonal().add_(self.damping)
        return matrix

    def sample(self, generator: torch.Generator, size: int) -> LinearOperator:
        return DampedOperator(self.operator.sample(generator, size), self.damping)
