"""Garbage collection of a store by a retention policy, and compaction of finished runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage import RunStatus, Store
from storage.garbage_collection import Leftover
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.method_choice import method_digest
from tasks.run.parent_run import find_ancestors_in_use
from tasks.run.rows_selection import rows_digest
from tasks.run.selection_names import SelectionName

DAY = 24 * 3600


@dataclass(frozen=True)
class GcPlan:
    """Runs and files to delete.

    Attributes:
        runs: Names of expired runs.
        files: All files to delete, those of expired runs included, each with its reason.
        compacted: Names of runs that were compacted before.
        required: Names of expired runs that are kept, since a kept run reuses their results.
        why_nothing: Reason why there is nothing to delete; empty if there is something.
    """

    runs: tuple[str, ...]
    files: tuple[Leftover, ...]
    compacted: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    why_nothing: str = ""

    @property
    def total_bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(leftover.bytes for leftover in self.files)

    @property
    def reasons(self) -> dict[str, tuple[int, int]]:
        """Number and bytes of the files by reason."""
        totals: dict[str, tuple[int, int]] = {}
        for leftover in self.files:
            count, size = totals.get(leftover.reason, (0, 0))
            totals[leftover.reason] = (count + 1, size + leftover.bytes)
        return totals


@dataclass(frozen=True)
class RetentionPolicy:
    """Limits of retention; None keeps everything.

    Attributes:
        runs: Number of newest runs to keep.
        days: Age in days up to which runs are kept.
        artifact_days: Days since the last use up to which artifacts are kept.
        now: Current time in seconds since 1970.
    """

    runs: int | None = None
    days: float | None = None
    artifact_days: float | None = None
    now: float = field(default_factory=time.time)


def plan_gc(store: Store, policy: RetentionPolicy) -> GcPlan:
    """List what a policy deletes from a store, without deleting it."""
    runs, required = split_expired_runs(store.list_runs(), policy)
    files = [leftover for run in runs for leftover in store.list_run_files(run)]
    files += store.find_leftovers()
    if policy.artifact_days is not None:
        kept_records = [
            status.record for status in store.list_runs() if status.record.run not in runs
        ]
        selections = {(SelectionName.METHOD, method_digest(record)) for record in kept_records}
        selections |= {(SelectionName.ROWS, rows_digest(record.parts)) for record in kept_records}
        # Annotations, the samples that they belong to, and settings selected for a budget, which
        # later runs of other tables keep, are never deleted.
        review_artifacts = {
            (kind, name)
            for kind in (VERDICTS, DRAWS, SelectionName.BUDGET)
            for name in store.list_artifact_digests(kind)
        }
        files += store.find_unused_artifacts(policy.artifact_days, selections | review_artifacts)
    why = "" if files else _explain_nothing(store.list_runs(), policy, len(required))
    return GcPlan(tuple(runs), tuple(files), required=tuple(required), why_nothing=why)


def _explain_nothing(runs: Sequence[RunStatus], policy: RetentionPolicy, required: int) -> str:
    """Explain why a policy deletes nothing from a store with these runs."""
    leftovers = "No leftovers of stopped processes or replaced files are older than a day."
    if policy.runs is None and policy.days is None:
        kept = "Runs are deleted only on request, by --keep-runs or --older-than."
        if policy.artifact_days is not None:
            kept = f"Every artifact was used within {policy.artifact_days:g} days. {kept}"
        return f"{leftovers} {kept}"
    limits = ["the newest finished run is never deleted"]
    if policy.runs is not None:
        limits.append(f"--keep-runs {policy.runs} keeps the newest {policy.runs}")
    if policy.days is not None:
        limits.append(f"--older-than {policy.days:g} keeps what is younger")
    if required:
        limits.append(f"{required} are needed by later runs ([carry])")
    return f"{leftovers} Runs: {len(runs)}, and {'; '.join(limits)}."


def compact_finished(store: Store) -> tuple[str, ...]:
    """Merge the shard files of every finished run; return the names of the changed runs."""
    finished = (status.record.run for status in store.list_runs() if status.is_intact)
    return tuple(run for run in finished if store.compact(run) is not None)


def find_expired_runs(runs: Sequence[RunStatus], policy: RetentionPolicy) -> list[str]:
    """Names of expired runs, newest first; never the newest finished one.

    A run expires if it exceeds every limit that is set. A run that a kept run depends on, as its
    parent, is kept too.
    """
    return split_expired_runs(runs, policy)[0]


def split_expired_runs(
    runs: Sequence[RunStatus], policy: RetentionPolicy
) -> tuple[list[str], list[str]]:
    """Names of expired runs to delete, and of those that a kept run depends on; newest first."""
    if policy.runs is None and policy.days is None:
        return [], []
    newest = next((status.record.run for status in runs if status.was_finished), None)
    expired = [
        status
        for position, status in enumerate(runs)
        if status.record.run != newest and _is_expired(status, position, policy)
    ]
    required = find_ancestors_in_use(status for status in runs if status not in expired)
    names: dict[bool, list[str]] = {True: [], False: []}
    for status in expired:
        names[status.record.fingerprint in required].append(status.record.run)
    return names[False], names[True]


def _is_expired(status: RunStatus, position: int, policy: RetentionPolicy) -> bool:
    if policy.runs is not None and position < policy.runs:
        return False
    created = datetime.fromisoformat(status.record.created).replace(tzinfo=UTC)
    return policy.days is None or policy.now - created.timestamp() > policy.days * DAY
