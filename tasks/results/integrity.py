"""What is wrong with a store, byte by byte, and what can be computed again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from storage import Store, StoreError
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.lookup import TRAIN
from tasks.run.selections import DAMPING, METHOD, K

ARTIFACTS: Final = "parts"
IRREPLACEABLE_KINDS: Final = frozenset({VERDICTS, DRAWS, "sketcher"}) | {
    kind.name for kind in (DAMPING, METHOD, K)
}
"""Kinds of parts that hold what people or a run's first shards decided: never made again alike."""


@dataclass(frozen=True)
class IntegrityReport:
    """A run, or all parts of a store.

    Attributes:
        name: for the eye.
        run: its name; empty for the parts.
        state: in a few words.
        problems: what is wrong, a file each.
        unfinished: whether it is a run in work.
        damaged: keys of a run's commits, or kind and digest of parts, that are not sound.
    """

    name: str
    run: str
    state: str
    problems: tuple[str, ...] = ()
    unfinished: bool = False
    damaged: tuple[tuple[str, ...], ...] = field(default=())


def check_integrity(store: Store, run: str | None = None) -> Iterator[IntegrityReport]:
    """Examine every run and every part of a store, or one run alone."""
    names, orphaned = ([run], []) if run else store.list_names()
    for name in names:
        yield _check_run(store, name)
    for name in orphaned:
        got = f"{store.layout.record(name)}: missing, though the run has commits"
        yield IntegrityReport(name, "", "1 problems", (got,))
    if run is None:
        yield _check_artifacts(store)


def _check_run(store: Store, name: str) -> IntegrityReport:
    try:
        status = store.read_status(name)
        store.read_sequence(name)
        damaged = store.find_damaged(name)
    except StoreError as error:
        if not store.layout.record(name).exists():
            raise  # nobody has such a run
        return IntegrityReport(name, "", "1 problems", (f"{error}",))
    problems = [problem for file_problems in damaged.values() for problem in file_problems]
    problems += _find_missing_sequence(store, name)
    missing = [shard.key for shard in store.find_missing(name, status.record.list_shards())]
    keys = [key for key in missing if key not in damaged]
    if status.was_finished and TRAIN not in damaged and not store.is_committed(name, TRAIN):
        keys.append(TRAIN)
    if status.was_finished and keys:
        problems += [f"{store.layout.manifest(name, key)}: missing" for key in keys]
    count = f"{status.done} of {status.planned} shards"
    if problems:
        state = f"{len(problems)} problems, {count}"
    else:
        state = "whole" if status.is_intact else f"not finished, {count}; what is there is sound"
    damaged_keys = tuple((key,) for key in damaged) or tuple(
        (key,) for key in keys if status.was_finished
    )
    return IntegrityReport(
        name, name, state, tuple(problems), not status.was_finished, damaged_keys
    )


def _find_missing_sequence(store: Store, name: str) -> list[str]:
    """A run without a number though one opened before it has one: an earlier run passes for newer.

    Stores of before there were numbers have runs without, all older than those with one.
    """
    if store.read_sequence(name):
        return []
    created_times = [
        created for other in store.list_names()[0] if (created := _read_created(store, other))
    ]
    if not created_times or min(created_times) > store.read_record(name).created:
        return []
    return [f"{store.layout.order(name)}: missing; its next audit gives the run a place again"]


def _read_created(store: Store, name: str) -> str:
    """When a run with a number was opened; empty of one without, or whose record is unreadable."""
    try:
        return store.read_record(name).created if store.read_sequence(name) else ""
    except StoreError:
        return ""


def _check_artifacts(store: Store) -> IntegrityReport:
    damaged = store.find_damaged_artifacts()
    problems = tuple(problem for file_problems in damaged.values() for problem in file_problems)
    state = f"{len(problems)} problems" if problems else "sound"
    return IntegrityReport(ARTIFACTS, "", state, problems, False, tuple(damaged))


def repair_run(store: Store, report: IntegrityReport) -> str:
    """Take the damaged commits of a run back."""
    store.withdraw(report.run, [key for (key,) in report.damaged])
    return f"{len(report.damaged)} commits taken back; the next audit computes them."


def repair_artifacts(store: Store, report: IntegrityReport) -> str:
    """Remove damaged parts, which are made again when needed; not what was decided once."""
    recomputable = [pair for pair in report.damaged if pair[0] not in IRREPLACEABLE_KINDS]
    for kind, digest in recomputable:
        store.remove_artifact(kind, digest)
    kept_count = len(report.damaged) - len(recomputable)
    note = (
        f" {kept_count} hold what was decided once: put the files back from a copy."
        if kept_count
        else ""
    )
    return (
        f"{len(recomputable)} parts removed, which are computed again when they are needed.{note}"
    )
