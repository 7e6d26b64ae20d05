"""What is wrong with a store, byte by byte, and what can be computed again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from storage import Store, StoreError
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.k_selection import KIND as CANDIDATES
from tasks.run.lookup import TRAIN
from tasks.run.method_selection import KIND as METHOD
from tasks.run.selections import KIND as DAMPING

PARTS: Final = "parts"
ONCE: Final = frozenset({VERDICTS, DRAWS, DAMPING, CANDIDATES, METHOD, "sketcher"})
"""Kinds of parts that hold what people or a run's first shards decided: never made again alike."""


@dataclass(frozen=True)
class Examined:
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


def examined(store: Store, run: str | None = None) -> Iterator[Examined]:
    """Examine every run and every part of a store, or one run alone."""
    names, lost = ([run], []) if run else store.names()
    for name in names:
        yield _of_run(store, name)
    for name in lost:
        got = f"{store.layout.record(name)}: missing, though the run has commits"
        yield Examined(name, "", "1 problems", (got,))
    if run is None:
        yield _of_parts(store)


def _of_run(store: Store, name: str) -> Examined:
    try:
        status = store.status(name)
        store.sequence_of(name)
        damaged = store.damaged(name)
    except StoreError as error:
        if not store.layout.record(name).exists():
            raise  # nobody has such a run
        return Examined(name, "", "1 problems", (f"{error}",))
    problems = [problem for found in damaged.values() for problem in found]
    problems += _lost_place(store, name)
    missing = [shard.key for shard in store.missing(name, status.record.shards())]
    keys = [key for key in missing if key not in damaged]
    if status.closed and TRAIN not in damaged and not store.is_done(name, TRAIN):
        keys.append(TRAIN)
    if status.closed and keys:
        problems += [f"{store.layout.manifest(name, key)}: missing" for key in keys]
    count = f"{status.done} of {status.planned} shards"
    if problems:
        state = f"{len(problems)} problems, {count}"
    else:
        state = "whole" if status.whole else f"not finished, {count}; what is there is sound"
    taken = tuple((key,) for key in damaged) or tuple((key,) for key in keys if status.closed)
    return Examined(name, name, state, tuple(problems), not status.closed, taken)


def _lost_place(store: Store, name: str) -> list[str]:
    """A run without a number though one opened before it has one: an earlier run passes for newer.

    Stores of before there were numbers have runs without, all older than those with one.
    """
    if store.sequence_of(name):
        return []
    before = [opened for other in store.names()[0] if (opened := _opened(store, other))]
    if not before or min(before) > store.record(name).created:
        return []
    return [f"{store.layout.order(name)}: missing; its next audit gives the run a place again"]


def _opened(store: Store, name: str) -> str:
    """When a run with a number was opened; empty of one without, or whose record is unreadable."""
    try:
        return store.record(name).created if store.sequence_of(name) else ""
    except StoreError:
        return ""


def _of_parts(store: Store) -> Examined:
    damaged = store.damaged_parts()
    problems = tuple(problem for found in damaged.values() for problem in found)
    state = f"{len(problems)} problems" if problems else "sound"
    return Examined(PARTS, "", state, problems, False, tuple(damaged))


def repair_run(store: Store, part: Examined) -> str:
    """Take the damaged commits of a run back."""
    store.withdraw(part.run, [key for (key,) in part.damaged])
    return f"{len(part.damaged)} commits taken back; the next audit computes them."


def repair_parts(store: Store, part: Examined) -> str:
    """Remove damaged parts, which are made again when needed; not what was decided once."""
    again = [pair for pair in part.damaged if pair[0] not in ONCE]
    for kind, digest in again:
        store.drop_part(kind, digest)
    stay = len(part.damaged) - len(again)
    kept = f" {stay} hold what was decided once: put the files back from a copy." if stay else ""
    return f"{len(again)} parts removed, which are computed again when they are needed.{kept}"
