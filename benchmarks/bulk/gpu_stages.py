"""The full scan and the sketches of `benchmarks.bulk.gpu`, stage by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

import fastif
from benchmarks.bulk.gpu_floors import settle
from benchmarks.bulk.gpu_workload import Work
from fastif.attribution.control_sample import select_control_ids
from fastif.attribution.influence import mean_influence
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from fastif.curvature import DampedOperator
from fastif.gradients.gradient_tile import aligned_rows
from fastif.gradients.per_example import compute_measure_gradients
from fastif.numerics.correlation import spearman

DAMPING = 0.1
COMPARED = 16
"""Number of queries that are also scored in single precision."""


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
        s_test: s_test of all queries in half precision, [q p].
        exact: s_test of the first few queries in single precision.
        residual: Relative residual of each solve on the sampled Gauss-Newton matrix, [q].
        influences: Top-k and bottom-k scores of each query.
    """

    stages: Stages
    s_test: torch.Tensor
    exact: torch.Tensor
    residual: torch.Tensor
    influences: fastif.Influences


def full_scan(work: Work) -> ScanResult:
    """Solve all queries, then score all training rows in one pass."""
    stages, scale = Stages(work.device), work.scale
    solver = fastif.Spectral()
    with stages.stage("curvature"):
        operator = curvature(work).with_damping(DAMPING)
        factor = solver.factor(operator)
        operator.operator.gradients.uses_hooks(work.train.take(torch.arange(2)))
    with tensor_cores(), stages.stage("solve"):
        s_test, exact, residual = solve_query_batches(
            work, operator, solver.prepare(operator, factor)
        )
    with tensor_cores(), stages.stage("scan"):
        scorer = make_half_precision_scorer(work, operator.operator.gradients, s_test)
        influences = mean_influence([scorer], keep=scale.keep)
    return ScanResult(stages, s_test, exact, residual, influences)


def curvature(work: Work) -> fastif.GaussNewton:
    """Return the Gauss-Newton matrix of a fixed random sample of the rows."""
    scale, generator = work.scale, torch.Generator().manual_seed(0)
    ids = torch.randperm(scale.rows, generator=generator)[: scale.curvature_rows]
    return fastif.GaussNewton(work.objective, work.train.with_batch_size(scale.batch), ids)


def solve_query_batches(
    work: Work, operator: DampedOperator, solve
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return s_test of all queries in half precision, of some in single, and the residuals."""
    scale, like = work.scale, work.objective.like
    s_test = aligned_rows(like, scale.queries, work.objective.space.size, torch.bfloat16)
    exact, residuals = [], []
    queries = work.queries.with_batch_size(scale.batch)
    for ids in fastif.all_ids(queries).split(scale.together):
        rows = compute_measure_gradients(operator.operator.gradients, queries, ids)
        solution = solve(rows)
        s_test[int(ids[0]) : int(ids[-1]) + 1] = solution.value
        residuals.append(solution.residual)
        missing = COMPARED - sum(map(len, exact))
        exact += [solution.value[:missing].clone()] if missing else []
    return s_test, torch.cat(exact), torch.cat(residuals)


def make_half_precision_scorer(
    work: Work, gradients: fastif.Gradients, s_test: torch.Tensor
) -> Scorer:
    """Return the scorer that multiplies training gradients in half precision with s_test."""
    low = fastif.Gradients(work.objective, torch.bfloat16)
    low.per_example_backward = gradients.per_example_backward  # as was verified in single precision
    return GradientScorer(low, work.train.with_batch_size(work.scale.tile), s_test)


def agreement(work: Work, scanned: ScanResult) -> dict:
    """Compare the scores of a sample of rows with those in single precision throughout."""
    whole = fastif.Gradients(work.objective)
    exact = _effects(work, GradientScorer(whole, work.train, scanned.exact))
    with tensor_cores():
        low = _effects(work, make_half_precision_scorer(work, whole, scanned.s_test[: len(exact)]))
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
        matrix = curvature(work)
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
