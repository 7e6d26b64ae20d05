"""The upkeep of a store: what is wrong with it, and what it needs no more."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage import Leftover, RunStatus, Store
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.artifact_keys import method_digest
from tasks.run.method_selection import KIND as METHOD
from tasks.run.parent_run import needed

DAY = 24 * 3600


@dataclass(frozen=True)
class Sweep:
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
    def bytes(self) -> int:
        """Of all files together."""
        return sum(one.bytes for one in self.files)

    @property
    def reasons(self) -> dict[str, tuple[int, int]]:
        """Files and bytes for each reason."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.files:
            count, size = found.get(one.why, (0, 0))
            found[one.why] = (count + 1, size + one.bytes)
        return found


@dataclass(frozen=True)
class Keep:
    """How long things are kept; what is left out is kept for good.

    Attributes:
        runs: so many of the newest.
        days: runs that are no older.
        part_days: parts that an audit used no longer ago.
        now: seconds since 1970.
    """

    runs: int | None = None
    days: float | None = None
    part_days: float | None = None
    now: float = field(default_factory=time.time)


def swept(store: Store, keep: Keep) -> Sweep:
    """What may go of a store. Nothing is removed."""
    runs = old_runs(store.runs(), keep)
    files = [one for run in runs for one in store.files_of(run)]
    files += store.leftovers()
    if keep.part_days is not None:
        kept = (status.record for status in store.runs() if status.record.run not in runs)
        chosen = {(METHOD, method_digest(record)) for record in kept}
        # People's work, and what it is of: for good.
        reviewed = {(kind, name) for kind in (VERDICTS, DRAWS) for name in store.part_names(kind)}
        files += store.unused_parts(keep.part_days, chosen | reviewed)
    return Sweep(tuple(runs), tuple(files))


def compact_finished(store: Store) -> tuple[str, ...]:
    """Put the shards' files of every finished run together; the runs that this changed."""
    finished = (status.record.run for status in store.runs() if status.whole)
    return tuple(run for run in finished if store.compact(run) is not None)


def old_runs(runs: Sequence[RunStatus], keep: Keep) -> list[str]:
    """Names of runs, the newest first, that are too old to keep; never the newest finished one.

    A run is too old if it is by every limit there is. One that a run which stays goes on from is
    kept.
    """
    if keep.runs is None and keep.days is None:
        return []
    newest = next((status.record.run for status in runs if status.closed), None)
    old = [
        status
        for place, status in enumerate(runs)
        if status.record.run != newest and _too_old(status, place, keep)
    ]
    still = needed(status for status in runs if status not in old)
    return [status.record.run for status in old if status.record.fingerprint not in still]


def _too_old(status: RunStatus, place: int, keep: Keep) -> bool:
    if keep.runs is not None and place < keep.runs:
        return False
    made = datetime.fromisoformat(status.record.created).replace(tzinfo=UTC)
    return keep.days is None or keep.now - made.timestamp() > keep.days * DAY
