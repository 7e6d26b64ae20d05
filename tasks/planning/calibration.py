"""Seconds that an example takes, measured on a few of the study's own rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

import fastif

if TYPE_CHECKING:  # a job is planned by its rates while it is made
    from tasks.run.context import Job

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


_measured: "WeakKeyDictionary[fastif.Objective, dict[int, Rates]]" = WeakKeyDictionary()


def rates_of(job: "Job") -> Rates:
    """Those of the job's model and batches, measured once while the model is in memory."""
    known, size = _measured.setdefault(job.objective, {}), job.study.run.batch_size
    if size not in known:
        known[size] = calibrate(job)
    return known[size]


def calibrate(job: "Job") -> Rates:
    """Time each kind of work on a few of the study's own rows."""
    objective, batch_size = job.objective, job.study.run.batch_size
    lengths = job.train_texts.lengths
    ids = lengths.argsort()[:: max(1, len(lengths) // batch_size)][:batch_size]
    tokens = job.train_texts.take(ids)
    batch = objective.prefix(tokens)
    gradients = fastif.Gradients(objective)
    tile = gradients.of_losses(batch)
    rows = torch.zeros(CALIBRATION_QUERIES, objective.space.size, device=objective.like.device)
    count = len(ids)
    with torch.no_grad():
        prefix = _seconds(lambda: objective.prefix(tokens)) / count
        forward = _seconds(lambda: objective.outputs(objective.params, batch)) / count
    return Rates(
        prefix,
        forward,
        _seconds(lambda: gradients.of_losses(batch)) / count,
        _seconds(lambda: tile.times(rows)) / count / CALIBRATION_QUERIES,
    )


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # kernels are queued; wait until they are done
    return (time.perf_counter() - start) / times
