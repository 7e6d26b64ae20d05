"""Hidden states on disk: what memory has no room for, a part of the store for the next night."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

import fastif
from fastif import InputError
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.prefix_cache import CachePlan, plan_cache
from storage import Store, StoreError, compute_fingerprint
from storage.atomic import count_free_bytes
from tasks.models.hidden_state_cache import GROUP, MEGABYTE, count_bytes_per_token
from tasks.runtime.progress import progress_bar
from tasks.runtime.versions import read_versions

if TYPE_CHECKING:  # a job opens its files here
    from tasks.run.context import RunContext

KIND = "hidden"
VERSIONED_LIBRARIES = ("torch", "transformers")
"""Libraries of which another version may give other last digits."""

TableName = Literal["train", "queries"]
TABLES: tuple[TableName, ...] = ("train", "queries")


def place_hidden_states(job: "RunContext", table: TableName) -> CachePlan:
    """Where the hidden states of a table are kept, within this model's share of both budgets.

    The training rows come first on the disk; the queries have what they leave. A run that goes on
    by sketches keeps none: it looks at few rows, once.
    """
    if job.is_incremental_by_sketches:
        return CachePlan((), ())
    run, models = job.study.run, 1 + len(job.study.models)
    token_bytes = count_bytes_per_token(job.objective)
    memory, disk = (mb * MEGABYTE // models for mb in (run.prefix_cache_mb, run.prefix_disk_mb))
    if not token_bytes:
        return CachePlan((), ())
    train = plan_cache(job.train_texts, token_bytes, memory, disk, GROUP)
    if table == "train":
        return train
    if models > 1:
        return CachePlan((), ())  # they are read as tokens
    disk_left = disk - _count_bytes(job, "train", train)
    return plan_cache(job.query_texts, token_bytes, memory, disk_left, GROUP)


def open_hidden_file(job: "RunContext", table: TableName) -> HiddenStateFile | None:
    """The file of a table's hidden states that have no room in memory; written if it is not there.

    Files of other models and tables are removed before, so that the budget is that of all of them.

    Raises:
        StoreError: the disk is full.
    """
    groups, store = place_hidden_states(job, table).disk, _find_store(job)
    if not groups or store is None:
        return None
    digest = hidden_digest(job, table)
    artifact = store.find_artifact(KIND, digest)
    if artifact is None:
        store.retain_artifacts(KIND, _collect_digests(job))
        with progress_bar("hidden states: to disk", sum(map(len, groups))) as advance:

            def write(folder: Path) -> None:
                HiddenStateFile.write(
                    folder, job.objective, _select_texts(job, table), groups, advance
                )

            artifact = store.write_artifact(KIND, digest, write)
    return HiddenStateFile(artifact)


def hidden_digest(job: "RunContext", table: TableName, model: str | None = None) -> str:
    """Of what a file holds: the states of a model's frozen layers for some rows of a table.

    Args:
        job: has the model and the table.
        table: the table.
        model: digest of another model of the study that is cut alike.
    """
    placement, library_versions = place_hidden_states(job, table), read_versions()
    parts = job.plan.record.parts
    return compute_fingerprint(
        {
            "model": model or job.model_digest,
            "cut": job.objective.num_frozen_layers,
            "padding": job.objective.padding.side,
            "max_length": parts["max_length"],
            "table": parts[table],
            "batch_tokens": job.study.run.batch_tokens,
            "group": GROUP,
            "places": [sum(map(len, groups)) for groups in (placement.memory, placement.disk)],
            "device": job.objective.like.device.type,
            "versions": {name: library_versions[name] for name in VERSIONED_LIBRARIES},
        }
    )


def count_unwritten_bytes(job: "RunContext") -> int:
    """Of the files that are yet to be written."""
    return sum(
        _count_bytes(member, table)
        for member, table, digest in _iterate_files(job)
        if not _is_stored(job, digest)
    )


def count_states_to_compute(job: "RunContext") -> int:
    """Examples whose hidden states are computed once, for memory or for a file."""
    stored = {digest for _, _, digest in _iterate_files(job) if _is_stored(job, digest)}
    count = 0
    for member in job.members:
        for table in TABLES:
            placement = place_hidden_states(member, table)
            count += sum(map(len, placement.memory))
            if placement.disk and hidden_digest(member, table) not in stored:
                count += sum(map(len, placement.disk))
    return count


def compute_recomputed_share(job: "RunContext") -> float:
    """Part of the training rows whose hidden states are kept nowhere."""
    placement = place_hidden_states(job, "train")
    kept = sum(map(len, (*placement.memory, *placement.disk)))
    return 1 - kept / len(job.train_texts) if count_bytes_per_token(job.objective) else 0.0


def check_disk_space(job: "RunContext") -> None:
    """Refuse files that the disk has no room for.

    Raises:
        InputError: it has not.
    """
    needed, free = count_unwritten_bytes(job), count_free_bytes(job.plan.store_path)
    if needed > free:
        raise InputError(
            "[run] prefix_disk_mb",
            f"room for {needed / MEGABYTE:,.0f} MB of hidden states in {job.plan.store_path}",
            f"{free / MEGABYTE:,.0f} MB free",
            "Lower it, free some space, or put the store on another disk.",
        )


def _find_store(job: "RunContext") -> Store | None:
    try:
        return job.store
    except StoreError:
        return None  # not made yet


def _collect_digests(job: "RunContext") -> set[str]:
    """Of the files of every model of the study; a member of several does not know the others."""
    parts = job.plan.record.parts
    models = [str(parts["model"]), *parts.get("models", [])]  # type: ignore[misc]
    return {hidden_digest(job, table, model) for model in models for table in TABLES}


def _is_stored(job: "RunContext", digest: str) -> bool:
    store = _find_store(job)
    return store is not None and store.find_artifact(KIND, digest) is not None


def _iterate_files(job: "RunContext") -> Iterator[tuple["RunContext", TableName, str]]:
    """Every file of a study: its model, its table, its digest."""
    for member in job.members:
        for table in TABLES:
            if place_hidden_states(member, table).disk:
                yield member, table, hidden_digest(member, table)


def _count_bytes(job: "RunContext", table: TableName, placement: CachePlan | None = None) -> int:
    groups: tuple[Tensor, ...] = (placement or place_hidden_states(job, table)).disk
    lengths = _select_texts(job, table).lengths
    return sum(int(lengths[places].sum()) for places in groups) * count_bytes_per_token(
        job.objective
    )


def _select_texts(job: "RunContext", table: TableName) -> fastif.Examples:
    return job.train_texts if table == "train" else job.query_texts
