"""Seconds that an example takes, measured on a few of the study's own rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch

import fastif
from tasks.run.context import RunContext

CALIBRATION_QUERIES = 16


@dataclass(frozen=True)
class Rates:
    """Seconds an example, measured: frozen part, forward, one gradient; and a product a query."""

    prefix: float
    forward: float
    gradient: float
    product: float

    def with_prefix(self, share: float) -> "Rates":
        """The same if for this share of examples the frozen part is computed each time."""
        more = share * self.prefix
        return replace(self, forward=self.forward + more, gradient=self.gradient + more)


_rates_cache: "WeakKeyDictionary[fastif.Objective, dict[int, Rates]]" = WeakKeyDictionary()


def get_rates(context: RunContext) -> Rates:
    """Those of the context's model and batches, measured once while the model is in memory."""
    by_batch_size, size = (
        _rates_cache.setdefault(context.objective, {}),
        context.study.run.batch_size,
    )
    if size not in by_batch_size:
        by_batch_size[size] = calibrate(context)
    return by_batch_size[size]


def calibrate(context: RunContext) -> Rates:
    """Time each kind of work on a few of the study's own rows."""
    objective, batch_size = context.objective, context.study.run.batch_size
    lengths = context.train_texts.lengths
    ids = lengths.argsort()[:: max(1, len(lengths) // batch_size)][:batch_size]
    tokens = context.train_texts.take(ids)
    batch = objective.compute_prefix(tokens)
    gradients = fastif.Gradients(objective)
    tile = gradients.compute_loss_tile(batch)
    vectors = torch.zeros(CALIBRATION_QUERIES, objective.space.size, device=objective.like.device)
    count = len(ids)
    with torch.no_grad():
        prefix = _time_call(lambda: objective.compute_prefix(tokens)) / count
        forward = _time_call(lambda: objective.outputs(objective.params, batch)) / count
    return Rates(
        prefix,
        forward,
        _time_call(lambda: gradients.compute_loss_tile(batch)) / count,
        _time_call(lambda: tile.dot(vectors)) / count / CALIBRATION_QUERIES,
    )


def _time_call(call: Callable[[], object], repeats: int = 3) -> float:
    call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # kernels are queued; wait until they are done
    return (time.perf_counter() - start) / repeats
