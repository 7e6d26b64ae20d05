"""Cost model of a solve from its dimensions alone, without computing anything."""

from dataclasses import dataclass

FLOAT32_BYTES, FLOAT64_BYTES = 4, 8

CG_SWEEPS = 50
"""Assumed number of steps of conjugate gradients; the true one depends on the unknown spectrum."""

MIN_EIGENVALUE_SWEEPS = 100
"""Assumed number of products that bound the minimum eigenvalue of a Hessian; 200 at most."""

KERNEL_COPIES = 3
"""Copies of a Gram matrix in memory while it is factorised."""

MAX_ROW_BYTES = 2**30
"""Bytes of factor rows in memory with their Gram matrix; more are recomputed on each use."""


@dataclass(frozen=True)
class SolverProblem:
    """Dimensions of (A + λI) x = b on which the cost of a solver depends.

    Attributes:
        train: Number of training examples.
        rows: Number n of examples that the curvature is a mean over.
        rows_per_example: Number of factor rows of one example; labels - 1 for softmax.
        parameters: Number p of attributed parameters.
        batch_size: Number of examples with gradients in memory at once.
        is_hessian: Whether the curvature may be indefinite, so that its minimum eigenvalue is
            needed.
    """

    train: int
    rows: int
    rows_per_example: int
    parameters: int
    batch_size: int
    is_hessian: bool = False

    @property
    def factor_rows(self) -> int:
        """Number r of rows of the GGN factor."""
        return self.rows * self.rows_per_example

    @property
    def min_eigenvalue_examples(self) -> int:
        """Examples processed by `add_min_eigenvalue`; 0 for a semi-definite curvature."""
        return self.rows * MIN_EIGENVALUE_SWEEPS if self.is_hessian else 0


@dataclass(frozen=True)
class SolverCost:
    """Estimated cost of a solver; numbers of steps that depend on the spectrum are assumptions.

    Attributes:
        solve_examples: Number of per-example gradients (or products) to solve one set of queries.
        factor_examples: Number of per-example gradients to make the factor; 0 if it is not stored.
        factor_products: Number of inner products of factor rows to make the factor.
        vectors_per_query: Number of vectors of length p in memory for each query.
        held_rows: Number of examples with factor rows in memory while the factor is made.
        working_bytes: Memory of the factor in bytes while it is made or used.
        factor_bytes: Size of the factor on disk in bytes; small ones count as 0.
        scores_in_one_sweep: Whether `prepare_scores` scores all training examples in one pass.
    """

    solve_examples: int
    factor_examples: int = 0
    factor_products: float = 0.0
    vectors_per_query: int = 6
    held_rows: int = 0
    working_bytes: int = 0
    factor_bytes: int = 0
    scores_in_one_sweep: bool = False


def estimate_kernel_bytes(rows: int, parameters: int, max_row_bytes: int = MAX_ROW_BYTES) -> int:
    """Estimate the memory in bytes of a Gram matrix and of the factor rows held with it."""
    held = min(rows * parameters * FLOAT32_BYTES, max_row_bytes)
    return KERNEL_COPIES * FLOAT64_BYTES * rows**2 + held
