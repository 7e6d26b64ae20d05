"""Calibration: seconds for an example, measured on a few of the study's rows."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

import fastif
from fastif import InputError
from fastif.data.examples import Batch
from fastif.gradients.structured_tile import StructuredTile
from fastif.numerics.precision import SINGLE, Precision
from tasks.planning.score_precision import expect_precision
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
        scores: Rates in the precision of scores; None if that is single precision.
    """

    prefix: float
    forward: float
    gradient: float
    product: float
    factor_product: float | None = None
    scores: "Rates | None" = None

    @property
    def of_scores(self) -> "Rates":
        """Rates in the precision of scores."""
        return self if self.scores is None else self.scores

    def with_prefix(self, share: float) -> "Rates":
        """Return rates in which a share of the examples runs the frozen layers each time."""
        more, scores = share * self.prefix, self.scores
        return replace(
            self,
            forward=self.forward + more,
            gradient=self.gradient + more,
            scores=None if scores is None else scores.with_prefix(share),
        )


_rates_cache: "WeakKeyDictionary[fastif.Objective, dict[tuple[int, Precision], Rates]]"
_rates_cache = WeakKeyDictionary()


def get_rates(context: RunContext) -> Rates:
    """Return the rates of the context's model and batch size, measured once a process."""
    cached = _rates_cache.setdefault(context.objective, {})
    key = (context.study.run.batch_size, expect_precision(context))
    if key not in cached:
        cached[key] = calibrate(context)
    return cached[key]


def calibrate(context: RunContext) -> Rates:
    """Measure the rates on one batch of the study's rows."""
    precision = expect_precision(context)
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
    rates = Rates(prefix, forward, gradient, product)
    if isinstance(tile, StructuredTile):
        factor_product = _time_call(lambda: tile.products(tile)) / count**2
        rates = replace(rates, factor_product=factor_product)
    if precision == SINGLE:
        return rates
    try:
        scores = _calibrate_scores(gradients, batch, vectors, precision, rates)
    except InputError:
        if context.study.score_precision != "auto":
            raise  # the model does not run in the precision that the study sets
        return rates
    return replace(rates, scores=scores)


def _calibrate_scores(
    gradients: fastif.Gradients, batch: Batch, vectors: Tensor, precision: Precision, rates: Rates
) -> Rates:
    """Measure gradients and products of scores; a product may form the gradients first."""
    low = fastif.Gradients(gradients.objective, precision)
    low.per_example_backward = gradients.per_example_backward or None
    count, few = len(batch["labels"]), CALIBRATION_QUERIES // 2
    tile = low.compute_loss_tile(batch)
    s_test = vectors.to(tile.dtype)
    passes = _time_call(lambda: low.compute_loss_tile(batch))
    half = _time_call(lambda: tile.dot(s_test[:few]))
    whole = _time_call(lambda: tile.dot(s_test))
    product = max(0.0, whole - half) / (CALIBRATION_QUERIES - few)
    gradient = passes + max(0.0, half - few * product)
    return replace(rates, gradient=gradient / count, product=product / count)


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
