"""Calibration: seconds for an example, measured on a few of the study's rows."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch

import fastif
from fastif.gradients.structured_tile import StructuredTile
from tasks.run.context import RunContext

CALIBRATION_QUERIES = 16
REPEATS = 3
"""Number of timed calls; the median is not moved by one that another process delayed."""


@dataclass(frozen=True)
class Rates:
    """Measured seconds for one example.

    Attributes:
        prefix: Seconds for the frozen layers.
        forward: Seconds for a forward pass above the frozen layers.
        gradient: Seconds for one per-example gradient.
        product: Seconds for the inner product of one gradient with one query.
        factor_product: Seconds for the inner product of two factor rows; None for those of
            `product`. It is less where gradients are held as factors.
    """

    prefix: float
    forward: float
    gradient: float
    product: float
    factor_product: float | None = None

    def with_prefix(self, share: float) -> "Rates":
        """Return rates in which a share of the examples runs the frozen layers each time."""
        more = share * self.prefix
        return replace(self, forward=self.forward + more, gradient=self.gradient + more)


_rates_cache: "WeakKeyDictionary[fastif.Objective, dict[int, Rates]]" = WeakKeyDictionary()


def get_rates(context: RunContext) -> Rates:
    """Return the rates of the context's model and batch size, measured once a process."""
    by_batch_size, size = (
        _rates_cache.setdefault(context.objective, {}),
        context.study.run.batch_size,
    )
    if size not in by_batch_size:
        by_batch_size[size] = calibrate(context)
    return by_batch_size[size]


def calibrate(context: RunContext) -> Rates:
    """Measure the rates on one batch of the study's rows."""
    objective, batch_size = context.objective, context.study.run.batch_size
    lengths = context.train_examples.lengths
    ids = lengths.argsort()[:: max(1, len(lengths) // batch_size)][:batch_size]
    tokens = context.train_examples.take(ids)
    batch = objective.compute_prefix(tokens)
    gradients = fastif.Gradients(objective)
    tile = gradients.compute_loss_tile(batch)
    vectors = torch.zeros(CALIBRATION_QUERIES, objective.space.size, device=objective.like.device)
    count = len(ids)
    with torch.no_grad():
        prefix = _time_call(lambda: objective.compute_prefix(tokens)) / count
        forward = _time_call(lambda: objective.outputs(objective.params, batch)) / count
    gradient = _time_call(lambda: gradients.compute_loss_tile(batch)) / count
    product = _time_call(lambda: tile.dot(vectors)) / count / CALIBRATION_QUERIES
    if not isinstance(tile, StructuredTile):
        return Rates(prefix, forward, gradient, product)
    factor_product = _time_call(lambda: tile.products(tile)) / count**2
    return Rates(prefix, forward, gradient, product, factor_product)


def _time_call(call: Callable[[], object]) -> float:
    """Median seconds of a call, after a first one."""
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # kernels run asynchronously
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
