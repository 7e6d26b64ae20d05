"""How much is measured, and with which settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What all sides are told; what one of them does not need, it ignores.

    Attributes:
        rows: training rows.
        queries: queries that are answered together.
        rounds: times that the sides take turns.
        threads: of every side.
        damping: λ of the exact solve, which `damping = "auto"` chose for this model.
        ekfac_damping: λ of both EK-FACs, chosen likewise.
        keep: rows kept at each end of an audit.
        batch: training rows whose gradients fastif holds at once; block_rows: the same while its
            exact solver is prepared; scan_batch: the same while it scores.
        rank: directions of a linear layer that a query is held in where its rank is low.
        depth: J of the paper's recursion; every step is run.
        solved: whole s_tests that the paper's way computes in a round.
        scored: candidates that it scores in a round.
        query_batch: kronfluence's; so many, and as many more as there are queries, share one pass
            over the training rows.
        fit_batch: rows of its batches while it fits; train_batch: while it scores.
        curvature: training rows whose Hessian dattri and captum invert.
        krylov: steps of their Arnoldi iterations, and how many eigenvalues are kept of them.
        few: queries that dattri's conjugate gradients are timed on; the rest is multiplied up.
    """

    rows: int = 2_000
    queries: int = 256
    rounds: int = 3
    threads: int = 2
    damping: float = 0.4
    ekfac_damping: float = 0.01
    keep: int = 100
    batch: int = 64
    block_rows: int = 512
    scan_batch: int = 128
    rank: int = 2
    depth: int = 1_000
    solved: int = 1
    scored: int = 60
    query_batch: int = 128
    fit_batch: int = 32
    train_batch: int = 32
    curvature: int = 256
    krylov: int = 50
    few: int = 2


FULL = Sizes()
QUICK = Sizes(
    rows=64, queries=6, rounds=1, keep=5, depth=5, solved=1, scored=3, query_batch=4, fit_batch=16,
    train_batch=16, curvature=16, krylov=6, few=2,
)  # fmt: skip
