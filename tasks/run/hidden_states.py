"""Hidden states on disk: what memory has no room for, a part of the store for the next night."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

import fastif
from fastif import InputError
from fastif.models.hidden_state_file import HiddenFile
from fastif.models.prefix_cache import Split, split
from storage import Store, StoreError, fingerprint, free_bytes
from tasks.planning.memory import MEGABYTE, bytes_a_token
from tasks.run.spec import versions
from tasks.runtime.progress import bar

if TYPE_CHECKING:  # a job opens its files here
    from tasks.run.context import Job

KIND = "hidden"
GROUP = 64
"""Examples in a forward pass of the frozen layers."""
DECIDING = ("torch", "transformers")
"""Libraries of which another version may give other last digits."""

Which = Literal["train", "queries"]
TABLES: tuple[Which, ...] = ("train", "queries")


def hidden_split(job: "Job", which: Which) -> Split:
    """Where the hidden states of a table are kept, within this model's share of both budgets.

    The training rows come first on the disk; the queries have what they leave. A run that goes on
    by sketches keeps none: it looks at few rows, once.
    """
    if job.goes_on_by_sketches:
        return Split((), ())
    run, models, each = job.study.run, 1 + len(job.study.models), bytes_a_token(job)
    memory, disk = (mb * MEGABYTE // models for mb in (run.prefix_cache_mb, run.prefix_disk_mb))
    if not each:
        return Split((), ())
    train = split(job.train_texts, each, memory, disk, GROUP)
    if which == "train":
        return train
    if models > 1:
        return Split((), ())  # they are read as tokens
    left = disk - _size(job, "train", train)
    return split(job.query_texts, each, memory, left, GROUP)


def hidden_file(job: "Job", which: Which) -> HiddenFile | None:
    """The file of a table's hidden states that have no room in memory; written if it is not there.

    Files of other models and tables are removed before, so that the budget is that of all of them.

    Raises:
        StoreError: the disk is full.
    """
    groups, store = hidden_split(job, which).disk, _store(job)
    if not groups or store is None:
        return None
    digest = hidden_digest(job, which)
    part = store.part(KIND, digest)
    if part is None:
        store.keep_parts(KIND, _all_digests(job))
        with bar("hidden states: to disk", sum(map(len, groups))) as advance:

            def write(folder: Path) -> None:
                HiddenFile.write(folder, job.objective, _texts(job, which), groups, advance)

            part = store.write_part(KIND, digest, write)
    return HiddenFile(part)


def hidden_digest(job: "Job", which: Which, model: str | None = None) -> str:
    """Of what a file holds: the states of a model's frozen layers for some rows of a table.

    Args:
        job: has the model and the table.
        which: the table.
        model: digest of another model of the study that is cut alike.
    """
    found, known = hidden_split(job, which), versions()
    parts = job.plan.record.parts
    return fingerprint(
        {
            "model": model or job.digest,
            "cut": job.objective.cut,
            "padding": job.objective.padding.side,
            "max_length": parts["max_length"],
            "table": parts[which],
            "batch_tokens": job.study.run.batch_tokens,
            "group": GROUP,
            "places": [sum(map(len, groups)) for groups in (found.memory, found.disk)],
            "device": job.objective.like.device.type,
            "versions": {name: known[name] for name in DECIDING},
        }
    )


def unwritten_bytes(job: "Job") -> int:
    """Of the files that are yet to be written."""
    return sum(
        _size(member, which) for member, which, name in _files(job) if not _is_there(job, name)
    )


def states_to_compute(job: "Job") -> int:
    """Examples whose hidden states are computed once, for memory or for a file."""
    there = {digest for _, _, digest in _files(job) if _is_there(job, digest)}
    count = 0
    for member in job.members:
        for which in TABLES:
            found = hidden_split(member, which)
            count += sum(map(len, found.memory))
            if found.disk and hidden_digest(member, which) not in there:
                count += sum(map(len, found.disk))
    return count


def recomputed_share(job: "Job") -> float:
    """Part of the training rows whose hidden states are kept nowhere."""
    found = hidden_split(job, "train")
    kept = sum(map(len, (*found.memory, *found.disk)))
    return 1 - kept / len(job.train_texts) if bytes_a_token(job) else 0.0


def check_room(job: "Job") -> None:
    """Refuse files that the disk has no room for.

    Raises:
        InputError: it has not.
    """
    needed, free = unwritten_bytes(job), free_bytes(job.plan.store_path)
    if needed > free:
        raise InputError(
            "[run] prefix_disk_mb",
            f"room for {needed / MEGABYTE:,.0f} MB of hidden states in {job.plan.store_path}",
            f"{free / MEGABYTE:,.0f} MB free",
            "Lower it, free some space, or put the store on another disk.",
        )


def _store(job: "Job") -> Store | None:
    try:
        return job.store
    except StoreError:
        return None  # not made yet


def _all_digests(job: "Job") -> set[str]:
    """Of the files of every model of the study; a member of several does not know the others."""
    parts = job.plan.record.parts
    models = [str(parts["model"]), *parts.get("models", [])]  # type: ignore[misc]
    return {hidden_digest(job, which, model) for model in models for which in TABLES}


def _is_there(job: "Job", digest: str) -> bool:
    store = _store(job)
    return store is not None and store.part(KIND, digest) is not None


def _files(job: "Job") -> Iterator[tuple["Job", Which, str]]:
    """Every file of a study: its model, its table, its digest."""
    for member in job.members:
        for which in TABLES:
            if hidden_split(member, which).disk:
                yield member, which, hidden_digest(member, which)


def _size(job: "Job", which: Which, found: Split | None = None) -> int:
    groups: tuple[Tensor, ...] = (found or hidden_split(job, which)).disk
    lengths = _texts(job, which).lengths
    return sum(int(lengths[places].sum()) for places in groups) * bytes_a_token(job)


def _texts(job: "Job", which: Which) -> fastif.Examples:
    return job.train_texts if which == "train" else job.query_texts
