"""Sizes and settings of the measurement."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes and settings of all sides; each side uses those that it needs.

    Attributes:
        rows: Number of training rows.
        queries: Number of queries, attributed together.
        rounds: Number of rounds.
        threads: Number of threads of each side.
        damping: Damping λ of the exact solve, selected by `damping = "auto"` for this model.
        ekfac_damping: Damping λ of EK-FAC, of fastif and of kronfluence, selected in the same way.
        keep: Number k of top-k and of bottom-k rows of an audit.
        batch: Training gradients that fastif holds in memory.
        block_rows: Training gradients in memory during the setup of the exact solver.
        scan_batch: Training gradients in memory during scoring.
        rank: Rank of a query gradient in each linear layer, for low-rank scores.
        depth: Steps J of the published recursion; all are run.
        solved: Number of whole s_tests of the published method in a round.
        scored: Number of candidates that the published method scores in a round.
        query_batch: Query batch size of kronfluence; all queries share one pass over the rows.
        fit_batch: Batch size of kronfluence during the fit.
        train_batch: Batch size of kronfluence during scoring.
        curvature: Number of training rows of the Hessian that dattri and captum invert.
        krylov: Steps of the Arnoldi iterations, and number of eigenvalues kept.
        few: Number of queries for which conjugate gradients of dattri are timed; the rest is
            extrapolated.
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
