"""The upkeep of a store: what is wrong with it, and what it needs no more."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage import RunStatus, Store
from storage.garbage_collection import Leftover
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.artifact_keys import method_digest
from tasks.run.parent_run import find_ancestors_in_use
from tasks.run.selections import METHOD

DAY = 24 * 3600


@dataclass(frozen=True)
class GcPlan:
    """What may go, by the reason why.

    Attributes:
        runs: names of runs that are forgotten.
        files: all files, those of runs among them.
        compacted: runs whose shards' files were put together before.
    """

    runs: tuple[str, ...]
    files: tuple[Leftover, ...]
    compacted: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Of all files together."""
        return sum(leftover.bytes for leftover in self.files)

    @property
    def reasons(self) -> dict[str, tuple[int, int]]:
        """Files and bytes for each reason."""
        totals: dict[str, tuple[int, int]] = {}
        for leftover in self.files:
            count, size = totals.get(leftover.reason, (0, 0))
            totals[leftover.reason] = (count + 1, size + leftover.bytes)
        return totals


@dataclass(frozen=True)
class RetentionPolicy:
    """How long things are kept; what is left out is kept for good.

    Attributes:
        runs: so many of the newest.
        days: runs that are no older.
        artifact_days: parts that an audit used no longer ago.
        now: seconds since 1970.
    """

    runs: int | None = None
    days: float | None = None
    artifact_days: float | None = None
    now: float = field(default_factory=time.time)


def plan_gc(store: Store, policy: RetentionPolicy) -> GcPlan:
    """What may go of a store. Nothing is removed."""
    runs = find_expired_runs(store.list_runs(), policy)
    files = [leftover for run in runs for leftover in store.list_run_files(run)]
    files += store.find_leftovers()
    if policy.artifact_days is not None:
        kept_records = (
            status.record for status in store.list_runs() if status.record.run not in runs
        )
        method_artifacts = {(METHOD.name, method_digest(record)) for record in kept_records}
        # People's work, and what it is of: for good.
        review_artifacts = {
            (kind, name) for kind in (VERDICTS, DRAWS) for name in store.list_artifact_digests(kind)
        }
        files += store.find_unused_artifacts(
            policy.artifact_days, method_artifacts | review_artifacts
        )
    return GcPlan(tuple(runs), tuple(files))


def compact_finished(store: Store) -> tuple[str, ...]:
    """Put the shards' files of every finished run together; the runs that this changed."""
    finished = (status.record.run for status in store.list_runs() if status.is_intact)
    return tuple(run for run in finished if store.compact(run) is not None)


def find_expired_runs(runs: Sequence[RunStatus], policy: RetentionPolicy) -> list[str]:
    """Names of runs, the newest first, that are too old to keep; never the newest finished one.

    A run is too old if it is by every limit there is. One that a run which stays goes on from is
    kept.
    """
    if policy.runs is None and policy.days is None:
        return []
    newest = next((status.record.run for status in runs if status.was_finished), None)
    expired = [
        status
        for position, status in enumerate(runs)
        if status.record.run != newest and _is_expired(status, position, policy)
    ]
    required = find_ancestors_in_use(status for status in runs if status not in expired)
    return [status.record.run for status in expired if status.record.fingerprint not in required]


def _is_expired(status: RunStatus, position: int, policy: RetentionPolicy) -> bool:
    if policy.runs is not None and position < policy.runs:
        return False
    created = datetime.fromisoformat(status.record.created).replace(tzinfo=UTC)
    return policy.days is None or policy.now - created.timestamp() > policy.days * DAY
