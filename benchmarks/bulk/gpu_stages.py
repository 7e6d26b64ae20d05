"""The full scans and the sketches of `benchmarks.bulk.gpu`, stage by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch

import fastif
from benchmarks.bulk.gpu_floors import settle
from benchmarks.bulk.gpu_solve import (
    Solved,
    compute_queries,
    estimate_full_residuals,
    sample_curvature,
    solve_groups,
)
from benchmarks.bulk.gpu_workload import Work
from fastif.attribution.control_sample import select_control_ids
from fastif.attribution.influence import mean_influence
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from fastif.curvature import DampedOperator
from fastif.numerics.correlation import spearman
from fastif.numerics.precision import BF16
from fastif.solvers.in_place import InPlaceSolver
from fastif.solvers.solver import Factor

DAMPING = 0.1
COMPARED = 16
"""Number of queries that are also scored in single precision."""
MAX_KERNEL_MB = 10_000
"""Limit of the memory of the Gram matrix, in megabytes."""


@dataclass(frozen=True, eq=False)
class Stages:
    """Seconds and peak memory of each stage.

    Attributes:
        device: Device to synchronize; its peak memory is recorded, 0 on the CPU.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    gigabytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the block as this stage."""
        gpu = self.device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        settle(self.device)
        start = time.perf_counter()
        yield
        settle(self.device)
        self.seconds[name] = time.perf_counter() - start
        self.gigabytes[name] = torch.cuda.max_memory_allocated(self.device) / 1e9 if gpu else 0.0


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Use TF32 for single-precision products on a GPU (10 of 23 bits) within the block."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


@dataclass(frozen=True, eq=False)
class ScanResult:
    """Result of a full scan.

    Attributes:
        stages: Seconds and peak memory of its stages.
        operator: Damped Gauss-Newton matrix that was solved.
        solver: Solver of the queries.
        factor: Its factor.
        solved: s_test of all queries in half precision, with their residuals.
        influences: Top-k and bottom-k scores of each query.
        full_residual: Estimated residuals on the curvature of all rows; None if not estimated.
    """

    stages: Stages
    operator: DampedOperator
    solver: InPlaceSolver
    factor: Factor
    solved: Solved
    influences: fastif.Influences
    full_residual: torch.Tensor | None = None


def full_scan(work: Work) -> ScanResult:
    """Solve all queries by EK-FAC, then score all training rows in one pass."""
    scale = work.scale
    solver = fastif.Spectral(products=work.low_products)
    return _solve_and_scan(work, solver, scale.curvature_rows, scale.solve_batch)


def converged_scan(work: Work) -> ScanResult:
    """Solve all queries exactly for a sampled matrix, estimate residuals on all rows, and score."""
    scale = work.scale
    solver = fastif.Dual(
        block_rows=scale.held_rows, memory_mb=MAX_KERNEL_MB, products=work.low_products
    )
    return _solve_and_scan(work, solver, scale.converged_rows, scale.gram_batch, certify=True)


def _solve_and_scan(
    work: Work, solver: InPlaceSolver, rows: int, batch: int, certify: bool = False
) -> ScanResult:
    stages, scale, full_residual = Stages(work.device), work.scale, None
    with stages.stage("curvature"):
        curvature = sample_curvature(work, rows, batch)
        curvature.gradients.uses_hooks(work.train.take(torch.arange(2)))
        operator = curvature.with_damping(DAMPING)
        factor = solver.factor(operator)
    # Rows of the exact solve must be the same in every pass, and are computed in single precision.
    passes = nullcontext() if certify else tensor_cores()
    with passes, stages.stage("solve"):
        solve = solver.prepare_in_place(operator, factor, torch.bfloat16)
        solved = solve_groups(work, operator, solve)
        del solve
    if certify:
        with stages.stage("certificate"):
            full_residual = estimate_full_residuals(work, operator, solved.s_test)
    with tensor_cores(), stages.stage("scan"):
        scorer = make_half_precision_scorer(work, curvature.gradients, solved.s_test)
        influences = mean_influence([scorer], keep=scale.keep)
    return ScanResult(stages, operator, solver, factor, solved, influences, full_residual)


def make_half_precision_scorer(
    work: Work, gradients: fastif.Gradients, s_test: torch.Tensor
) -> Scorer:
    """Return the scorer that multiplies training gradients in half precision with s_test."""
    return GradientScorer(
        gradients, work.train.with_batch_size(work.scale.tile), s_test
    ).with_precision(BF16)


def agreement(work: Work, scanned: ScanResult) -> dict:
    """Compare the scores of a sample of rows with those in single precision throughout."""
    gradients = fastif.Gradients(work.objective)
    rows = compute_queries(work, scanned.operator, torch.arange(min(COMPARED, len(work.queries))))
    single = replace(scanned.solver, products="single")  # type: ignore[type-var]
    s_test = single.solve(scanned.operator, rows, scanned.factor).value
    exact = _effects(work, GradientScorer(gradients, work.train, s_test))
    with tensor_cores():
        rounded = scanned.solved.s_test[: len(exact)]
        low = _effects(work, make_half_precision_scorer(work, gradients, rounded))
    ranks = spearman(exact, low)
    error = (exact - low).norm() / exact.norm()
    return {"spearman": float(ranks.mean()), "least": float(ranks.min()), "error": float(error)}


def _effects(work: Work, scorer: Scorer) -> torch.Tensor:
    parts = select_control_ids(len(work.train)).split(work.scale.batch)
    return torch.cat([scorer.compute_effects(ids).values for ids in parts], 1)


@dataclass(frozen=True, eq=False)
class SketchResult:
    """Result of a search by sketches.

    Attributes:
        stages: Seconds and peak memory of its stages.
        sketcher: Sketcher of the gradients.
        narrowed: Size of a projected gradient before the count sketch.
        top_bottom: Ids and scores of the top-k and bottom-k rows of each query.
    """

    stages: Stages
    sketcher: GradientSketcher
    narrowed: int
    top_bottom: tuple[torch.Tensor, torch.Tensor]


def search_sketches(work: Work) -> SketchResult:
    """Sketch all training rows and queries, and search the top-k and bottom-k."""
    stages, scale, device = Stages(work.device), work.scale, work.device
    with stages.stage("directions"):
        matrix = sample_curvature(work, scale.curvature_rows, scale.batch)
        sizes = {"dimensions": scale.dimensions, "width": scale.width}
        sketcher = GradientSketcher.fit(matrix, DAMPING, **sizes)
        gradients = matrix.gradients
        gradients.uses_hooks(work.train.take(torch.arange(2)))
    with tensor_cores(), stages.stage("sketches"):
        train = work.train.with_batch_size(scale.tile)
        rows = compute_train_sketches(sketcher, gradients, train)
    with tensor_cores(), stages.stage("query sketches"):
        query_examples = work.queries.with_batch_size(scale.tile)
        queries = compute_query_sketches(sketcher, gradients, query_examples)
    with stages.stage("search"):
        device_rows, train_ids = rows.to(device), fastif.all_ids(train)
        stored = SketchIndex([SketchBlock(lambda: device_rows, train_ids, train_ids)])
        top_bottom = stored.find_top_bottom(queries.to(device), scale.keep)
    return SketchResult(stages, sketcher, sketcher.projector.count_sketch.size, top_bottom)
