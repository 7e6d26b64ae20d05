"""SolverProblem and SolverCost: what a solver takes, from sizes alone; nothing is computed."""

from dataclasses import dataclass

FLOAT32_BYTES, FLOAT64_BYTES = 4, 8

CG_SWEEPS = 50
"""A guess: how many conjugate gradient takes depends on the spectrum, which is not known yet."""

MIN_EIGENVALUE_SWEEPS = 100
"""Products that tell the least eigenvalue of a Hessian; 200 at most."""

KERNEL_COPIES = 3
"""Copies of a kernel while it is factorised."""

MAX_ROW_BYTES = 2**30
"""Root rows that are held beside their kernel; if there are more they are taken anew each time."""


@dataclass(frozen=True)
class SolverProblem:
    """The sizes of A x = b that a solver's cost depends on.

    Attributes:
        train: n, training examples.
        rows: m, those that the curvature is taken over.
        rows_per_example: root rows of one example; 1 fewer than the labels for softmax.
        parameters: p.
        batch_size: examples whose gradients are held at once.
        is_hessian: whether the curvature may be indefinite, so that its least eigenvalue is sought.
    """

    train: int
    rows: int
    rows_per_example: int
    parameters: int
    batch_size: int
    is_hessian: bool = False

    @property
    def factor_rows(self) -> int:
        """Root rows of the curvature."""
        return self.rows * self.rows_per_example

    @property
    def min_eigenvalue_examples(self) -> int:
        """Examples that `add_min_eigenvalue` takes, where the factor does not tell it already."""
        return self.rows * MIN_EIGENVALUE_SWEEPS if self.is_hessian else 0


@dataclass(frozen=True)
class SolverCost:
    """What a solver takes of a problem. Where steps depend on the spectrum, they are a guess.

    Attributes:
        solve_examples: gradients (or products of one example) that one set of queries takes.
        factor_examples: those that the factor takes; a factor that takes none is not kept.
        factor_products: products of root rows with each other for the factor.
        vectors_per_query: vectors of p numbers that are held for each query.
        held_rows: examples whose root rows are held while the factor is made.
        working_bytes: memory of the factor while it is made or used.
        factor_bytes: of the factor on disk; small ones count as 0.
        scores_in_one_sweep: whether `prepare_scores` has every score from one sweep.
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
    """Of a kernel of root rows, and of these rows as far as they are held."""
    held = min(rows * parameters * FLOAT32_BYTES, max_row_bytes)
    return KERNEL_COPIES * FLOAT64_BYTES * rows**2 + held
