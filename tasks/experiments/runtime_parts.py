"""Seconds of each part of an explanation: recursions, scans, EK-FAC, sketches."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

import fastif
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
from fastif.curvature import DampedOperator
from tasks.experiments.trained_nli import TrainedNli

PAPER, OURS = 50.0, 0.1
"""Damping of the settings of the paper, and one that leaves a curvature."""
ROWS = 392_702
"""Number of training rows of the paper."""
DEPTH, BATCH_OF_ORIGINAL, SCALE = 1_000, 128, 1e4
TIMED_STEPS = {"original": 3, "fast": 100}
"""Timed steps of a recursion; all steps take equally long."""
QUERY_BATCH = 64
"""Queries that fastif attributes together."""
EKFAC_FITS = 2
"""Timed fits of EK-FAC; the first one includes the setup."""


def count_cores() -> int:
    """Return the number of cores of this machine; 1 if unknown."""
    return os.cpu_count() or 1


def time_parts(world: TrainedNli) -> dict[str, list[float]]:
    """Return the seconds of each part, one or more timings each."""
    gradients = world.query_gradients
    return {
        **_time_recursions(world, gradients),
        **_time_rows(world, gradients[0]),
        **_time_scan(world, gradients),
        **_time_ekfac(world, gradients),
        **_time_sketches(world),
    }


def _time_recursions(world: TrainedNli, gradients: Tensor) -> dict[str, list[float]]:
    """Return the seconds of J steps, extrapolated from the timed steps."""
    operator = world.curvature.with_damping(PAPER)
    single_gradients = [row[None] for row in gradients]
    timings = {
        name: [
            _measure_seconds(
                lambda b=b, n=name, m=batch: _run_recursion(operator, b, m, TIMED_STEPS[n])
            )
            for b in single_gradients
        ]
        for name, batch in (("original", BATCH_OF_ORIGINAL), ("fast", 1))
    }
    share = max(1, TIMED_STEPS["fast"] // count_cores())
    timings["parallel"] = [
        _measure_seconds(
            lambda b=b: _run_parallel(
                [lambda: _run_recursion(operator, b, 1, share)] * count_cores()
            )
        )
        for b in single_gradients
    ]
    steps = {**TIMED_STEPS, "parallel": share * count_cores()}
    return {
        name: [DEPTH / steps[name] * seconds for seconds in values]
        for name, values in timings.items()
    }


def _run_recursion(operator: DampedOperator, b: Tensor, batch: int, steps: int) -> Tensor:
    """Run the recursion of the paper without the residual that `Lissa` would measure."""
    generator, x = torch.Generator().manual_seed(0), b
    for _ in range(steps):
        x = x + (b - operator.sample(generator, batch).apply(x)) / SCALE
    return x


def _time_rows(world: TrainedNli, s_test: Tensor) -> dict[str, list[float]]:
    """Return the seconds a score of one training row, sequential and on all cores."""
    gradients, train = fastif.Gradients(world.objective), world.train
    sampled = range(0, len(train), max(1, len(train) // QUERY_BATCH))

    def score_row(i: int) -> Tensor:
        return gradients.compute_loss_tile(train.take(torch.tensor([i]))).gradients @ s_test

    single_seconds = [_measure_seconds(lambda i=i: score_row(i)) for i in sampled]
    total_seconds = _measure_seconds(
        lambda: _run_parallel([lambda i=i: score_row(i) for i in sampled])
    )
    return {"row": single_seconds, "rows at once": [total_seconds / len(sampled)]}


def _repeat_to_batch(gradients: Tensor) -> Tensor:
    """Repeat the query gradients up to the size of a query batch."""
    return gradients.repeat(-(-QUERY_BATCH // len(gradients)), 1)[:QUERY_BATCH]


def _time_ekfac(world: TrainedNli, query_gradients: Tensor) -> dict[str, list[float]]:
    """Return the seconds of both passes of EK-FAC over the rows, its decomposition and the solves.

    `Spectral` would also measure each residual on all rows.
    """
    batch, seconds = _repeat_to_batch(query_gradients), []
    for _ in range(EKFAC_FITS):
        timestamps = [time.perf_counter()]
        sums = fastif.Ekfac.accumulate_covariances(world.curvature)
        timestamps.append(time.perf_counter())
        kfac = fastif.Ekfac.from_covariances(sums, world.curvature.like)
        timestamps.append(time.perf_counter())
        ekfac = kfac.apply_corrections(kfac.accumulate_corrections(world.curvature))
        timestamps.append(time.perf_counter())
        ekfac.apply_inverse(batch, OURS)
        timestamps.append(time.perf_counter())
        seconds.append([later - before for before, later in pairwise(timestamps)])
    first, decomposition, second, solve = (list(values) for values in zip(*seconds, strict=True))
    return {
        "EK-FAC, rows": [a + b for a, b in zip(first, second, strict=True)],
        "EK-FAC, factors": decomposition,
        "EK-FAC, queries": solve,
    }


def _time_scan(world: TrainedNli, query_gradients: Tensor) -> dict[str, list[float]]:
    """Return the seconds of a scan of all rows for a batch of queries."""
    batch = _repeat_to_batch(query_gradients)
    gradients = fastif.Gradients(world.objective)
    return {
        "scan": [
            _measure_seconds(lambda: fastif.influence(gradients, world.train, batch, keep=100))
        ]
    }


def _time_sketches(world: TrainedNli) -> dict[str, list[float]]:
    """Return the seconds of all sketches, and of a query among as many rows as in the paper."""
    gradients, train = fastif.Gradients(world.objective), world.train
    start = time.perf_counter()
    sketcher = GradientSketcher.fit(world.curvature, OURS, dimensions=512)
    rows = compute_train_sketches(sketcher, gradients, train)
    build_seconds = time.perf_counter() - start
    tiled = rows.float().repeat(-(-ROWS // len(rows)), 1)[:ROWS]

    def search_query(i: int) -> Tensor:
        query_sketch = compute_query_sketches(sketcher, gradients, world.queries, torch.tensor([i]))
        return (query_sketch @ tiled.T).topk(100).indices

    query_seconds = [
        _measure_seconds(lambda i=i: search_query(i)) for i in range(len(world.positions))
    ]
    return {"sketches, rows": [build_seconds], "sketches, query": query_seconds}


def _run_parallel(work: Sequence[Callable[[], object]]) -> list[object]:
    """Run all calls in a thread pool, each on one core; return their results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count_cores()) as pool:
            return list(pool.map(lambda call: call(), work))
    finally:
        torch.set_num_threads(before)


def _measure_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
