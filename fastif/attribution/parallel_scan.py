"""Full scan by several devices: each scans a part of the training rows, and the parts are merged.

Every device takes the next batch of similar lengths from one queue, so that fast devices take more.
The batches are those of a scan on one device, and the best scores are ordered by score and then by
position, so the result does not depend on the number of devices or on which of them scanned a row.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.attribution.influence import Influences, mean_influence
from fastif.attribution.ranking import Ranking
from fastif.attribution.row_parts import WHOLE
from fastif.attribution.scan_device import (
    FurtherDevices,
    can_copy,
    copy_scorers,
    is_device_error,
)
from fastif.attribution.scorers import Scorer
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates.faiss_index import Candidates
from fastif.data.examples import all_ids
from fastif.errors import InputError
from fastif.numerics.top_bottom_k import top_bottom_k

POLL_SECONDS = 0.2
"""Seconds between tries to lease a further device."""

Bucket = Int[Tensor, " b"]


class BucketQueue:
    """Queue of the batches of a scan, from which devices take one after the other.

    Args:
        buckets: Indices of the examples of each batch.
    """

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        self._waiting = deque(buckets)
        self._num_lent = 0
        self._is_closed = False
        self._error: InputError | None = None
        self._changed = threading.Condition()

    def take(self) -> Bucket | None:
        """Take the next batch; None if none waits. `finish` or `put_back` takes it later."""
        with self._changed:
            if self._is_closed or not self._waiting:
                return None
            self._num_lent += 1
            return self._waiting.popleft()

    def finish(self, taken: Sequence[Bucket]) -> None:
        """Record that batches are scanned."""
        with self._changed:
            self._num_lent -= len(taken)
            self._changed.notify_all()

    def put_back(self, taken: Sequence[Bucket]) -> None:
        """Return batches that another device has to scan."""
        with self._changed:
            self._waiting.extendleft(reversed(taken))
        self.finish(taken)

    def close(self, error: InputError | None = None) -> None:
        """End the scan after the batches in work, because of an error if there is one."""
        with self._changed:
            self._is_closed, self._error = True, self._error or error
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait until a batch can be taken; False if all are finished.

        Raises:
            InputError: The scan was closed because of this error.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or not self._num_lent)
            if self._error is not None:
                raise self._error
            return bool(self._waiting)

    def wait_briefly(self) -> bool:
        """Wait a moment; False if all batches are finished, or the scan is closed."""
        with self._changed:
            self._changed.wait(POLL_SECONDS)
            return not self._is_closed and bool(self._waiting or self._num_lent)

    @property
    def has_waiting(self) -> bool:
        """Whether a batch can be taken now."""
        return bool(self._waiting) and not self._is_closed


@dataclass(frozen=True, eq=False)
class TakenBuckets:
    """Batches that a device takes from the queue; iterated again, it starts from its first one.

    The batch after the current one is taken and announced, so that it can be read ahead.

    Attributes:
        queue: Queue of the scan.
        announce: Function that receives the positions of the next batch.
        is_wanted: Function that returns whether the device is wanted elsewhere: no more are taken.
        taken: Batches taken so far.
    """

    queue: BucketQueue
    announce: Callable[[Bucket], None]
    is_wanted: Callable[[], bool] = field(default=lambda: False)
    taken: list[Bucket] = field(default_factory=list)

    def __iter__(self) -> Iterator[Bucket]:
        place = 0
        while self.has(place):
            if self.has(place + 1):
                self.announce(self.taken[place + 1])
            yield self.taken[place]
            place += 1

    def has(self, place: int) -> bool:
        """Whether there is a batch at this place, which is taken now unless it was before."""
        if place == len(self.taken) and not self.is_wanted():
            bucket = self.queue.take()
            self.taken.extend([] if bucket is None else [bucket])
        return place < len(self.taken)


@dataclass(frozen=True, eq=False)
class ParallelScan:
    """Scan of all training examples by a first device and further ones.

    Attributes:
        scorers: Scorers of the first device.
        keep: Number of examples kept at each end.
        totals: Totals over slices, to which all devices add; None for none.
        ranking: Ranking on the first device; None for that by effects.
        further: Devices that join while they are free.
        queue: Batches of the scan.
    """

    scorers: Sequence[Scorer]
    keep: int | None
    totals: SliceTotals | None
    ranking: Ranking | None
    further: FurtherDevices
    queue: BucketQueue
    _parts: list[Influences] = field(default_factory=list)

    def run(self) -> list[Influences]:
        """Scan all batches and return the parts.

        Raises:
            InputError: A device found a fault of the model or of the examples.
        """
        pool = ThreadPoolExecutor(self.further.count, "fastif-scan")
        for _ in range(self.further.count):
            pool.submit(copy_context().run, self._help)
        try:
            while self.queue.wait():
                buckets = TakenBuckets(self.queue, self.scorers[0].train.announce)
                self._finish(self._scan(self.scorers, self.ranking, buckets), buckets.taken)
        finally:
            self.queue.close()
            pool.shutdown(wait=False)  # a device that still loads a model has no part in this scan
        return self._parts

    def _help(self) -> None:
        """Scan batches with a further device whenever one is free, until none is left."""
        try:
            while self._join_once() and self.queue.wait_briefly():
                pass
        except InputError as error:
            self.queue.close(error)

    def _join_once(self) -> bool:
        """Scan with a device if one is free; return whether this thread may try again."""
        taken: list[Bucket] = []
        try:
            with self.further.lease() if self.queue.has_waiting else nullcontext() as device:
                if device is None:
                    return True
                scorers, ranking = copy_scorers(self.scorers, self.ranking, device)
                announce = scorers[0].train.announce
                buckets = TakenBuckets(self.queue, announce, device.is_wanted, taken)
                part = self._scan(scorers, ranking, buckets)
        except Exception as error:  # one of the rows is met again by the first device
            if isinstance(error, InputError) and not is_device_error(error):
                raise
            self.further.report_failure(error)
            self.queue.put_back(taken)
            return False
        self._finish(part, taken)
        return True

    def _scan(
        self, scorers: Sequence[Scorer], ranking: Ranking | None, buckets: TakenBuckets
    ) -> Influences | None:
        if not buckets.has(0):
            return None
        return mean_influence(
            scorers, keep=self.keep, totals=self.totals, ranking=ranking, buckets=buckets
        )

    def _finish(self, part: Influences | None, taken: Sequence[Bucket]) -> None:
        if part is not None:
            self._parts.append(part)  # atomic
        self.queue.finish(taken)


def score_on_devices(
    scorers: Sequence[Scorer],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
    totals: SliceTotals | None = None,
    ranking: Ranking | None = None,
    further: FurtherDevices | None = None,
) -> Influences:
    """Mean and spread of removal effects, with the training rows of a full scan split over devices.

    Each training gradient is computed once, on one of the devices, for all queries. Scores of
    candidates, and scores that a solver has computed already, take the first device alone.

    Args:
        scorers: Scorers of each model on the first device.
        candidates: Positions to score for each query; None scans the full training set.
        keep: Number of examples kept at each end of a full scan; None for all.
        totals: Totals over slices of queries, filled in a full scan.
        ranking: Ranking of the examples; by the removal effect if None.
        further: Devices that join a full scan; None for none.

    Raises:
        InputError: `keep` is below 1, or a device found a fault of the model or of the examples.
    """
    parts = WHOLE if further is None else further.parts
    if not parts.fits(scorers[0].queries):  # memory did not suffice for all queries at once
        parts = WHOLE
    can_join = further is not None and further.count > 0 and can_copy(scorers)
    if candidates is not None or (parts.is_whole and not can_join):
        return mean_influence(scorers, candidates, keep=keep, totals=totals, ranking=ranking)
    train, scanned = scorers[0].train, [part.influences for part in parts.scanned]
    buckets = parts.select(train.length_buckets(all_ids(train)))
    if buckets and further is not None and can_join:
        queue = BucketQueue(buckets)
        scanned += ParallelScan(scorers, keep, totals, ranking, further, queue).run()
    elif buckets:
        scanned.append(
            mean_influence(scorers, keep=keep, totals=totals, ranking=ranking, buckets=buckets)
        )
    if totals is not None:
        for part in parts.scanned:
            part.add_totals(totals)
    return merge_influences(scanned, keep)


def merge_influences(parts: Sequence[Influences], keep: int | None) -> Influences:
    """Merge the best scores of parts of the training examples, for the same queries.

    Examples:
        >>> first = Influences(torch.tensor([[4, 0]]), torch.tensor([[-1.0, 2.0]]))
        >>> second = Influences(torch.tensor([[3, 1]]), torch.tensor([[-1.0, 1.0]]))
        >>> merge_influences([first, second], keep=1).ids
        tensor([[3, 0]])
    """
    ids = torch.cat([part.ids for part in parts], 1)
    order = top_bottom_k(ids, torch.cat([part.ranking for part in parts], 1), keep)

    def merge(name: str) -> Tensor | None:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else torch.cat(columns, 1).gather(1, order)

    return Influences(
        ids.gather(1, order),
        torch.cat([part.removal_effect for part in parts], 1).gather(1, order),
        spread=merge("spread"),
        ranking_score=merge("ranking_score"),
        nonfinite_ids=torch.cat([part.nonfinite_ids for part in parts]).sort().values,
    )
