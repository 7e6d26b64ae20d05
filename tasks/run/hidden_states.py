"""Cache of hidden states of the frozen layers: in memory, and on disk for those that do not fit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from torch import Tensor

import fastif
from fastif import InputError
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.prefix_cache import CachePlan, plan_cache
from storage import compute_fingerprint
from storage.atomic import count_free_bytes
from tasks.models.hidden_state_cache import (
    GROUP,
    MEGABYTE,
    cache_hidden_states,
    count_bytes_per_token,
)
from tasks.run.context import RunContext
from tasks.runtime.progress import ObservedExamples, progress_bar
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.runtime.versions import read_versions

KIND = "hidden"
CUT = "output"
"""Place of the hidden states: the output of the last frozen layer."""
VERSIONED_LIBRARIES = ("torch", "transformers")
"""Libraries whose version is part of the cache key, since it may change the last digits."""

TableName = Literal["train", "queries"]
TABLES: tuple[TableName, ...] = ("train", "queries")


def get_train_examples(context: RunContext) -> fastif.Examples:
    """Return the training rows with cached hidden states, as far as the memory budget allows.

    A run that continues a parent run by sketches gets tokens: few rows are read then, each once.
    """
    if context.is_incremental_by_sketches:
        return context.train_examples
    return context.memo.get(
        "train", lambda: ObservedExamples(_cache_hidden_states(context, "train"))
    )


def get_query_examples(context: RunContext) -> fastif.Examples:
    """Return the queries with cached hidden states; as tokens if there are several models."""
    if context.others or context.is_incremental_by_sketches:
        return context.query_examples
    return context.memo.get("queries", lambda: _cache_hidden_states(context, "queries"))


def place_hidden_states(context: RunContext, table: TableName) -> CachePlan:
    """Plan which hidden states of a table are cached in memory and which on disk.

    Each model has an equal share of both budgets. On disk the training rows come first and the
    queries get the rest. A run that continues a parent run by sketches caches none, since it reads
    few rows, each once.
    """
    if context.is_incremental_by_sketches:
        return CachePlan((), ())
    run, models = context.study.run, 1 + len(context.study.further_models)
    token_bytes = count_bytes_per_token(context.objective)
    memory, disk = (mb * MEGABYTE // models for mb in (run.prefix_cache_mb, run.prefix_disk_mb))
    if not token_bytes:
        return CachePlan((), ())
    train = plan_cache(context.train_examples, token_bytes, memory, disk, GROUP)
    if table == "train":
        return train
    if models > 1:
        return CachePlan((), ())  # several models read the queries as tokens
    disk_left = disk - _count_bytes(context, "train", train)
    return plan_cache(context.query_examples, token_bytes, memory, disk_left, GROUP)


def open_hidden_file(context: RunContext, table: TableName) -> HiddenStateFile | None:
    """Open the file of a table's hidden states that do not fit into memory; write it if missing.

    Files of other models and tables are removed first, so that the disk budget covers all of them.

    Raises:
        StoreError: The disk is full.
    """
    groups, store = place_hidden_states(context, table).disk, context.existing_store
    if not groups or store is None:
        return None
    digest = hidden_digest(context, table)
    artifact = store.find_artifact(KIND, digest)
    if artifact is None:
        store.retain_artifacts(KIND, _collect_digests(context))
        with progress_bar(
            "hidden states: writing to disk", sum(map(len, groups)), "rows"
        ) as advance:

            def write(folder: Path) -> None:
                HiddenStateFile.write(
                    folder, context.objective, _select_examples(context, table), groups, advance
                )

            artifact = store.write_artifact(KIND, digest, write)
    return HiddenStateFile(artifact)


def hidden_digest(context: RunContext, table: TableName, model: str | None = None) -> str:
    """Return the cache key of a table's file of hidden states.

    Args:
        context: Context of the run.
        table: "train" or "queries".
        model: Digest of another model with the same frozen layers; the context's model if None.
    """
    placement, library_versions = place_hidden_states(context, table), read_versions()
    parts = context.plan.record.parts
    return compute_fingerprint(
        {
            "model": model or context.model_digest,
            "cut": [context.objective.num_frozen_layers, CUT],
            "padding": context.objective.padding_side,
            "max_length": parts["max_length"],
            "table": parts[table],
            "batch_tokens": context.study.run.batch_tokens,
            "group": GROUP,
            "places": [sum(map(len, groups)) for groups in (placement.memory, placement.disk)],
            "device": context.objective.like.device.type,
            "versions": {name: library_versions[name] for name in VERSIONED_LIBRARIES},
        }
    )


def count_unwritten_bytes(context: RunContext) -> int:
    """Return the size in bytes of the hidden-state files that remain to be written."""
    return sum(
        _count_bytes(member, table)
        for member, table, digest in _iterate_files(context)
        if not _is_stored(context, digest)
    )


def count_states_to_compute(context: RunContext) -> int:
    """Return the number of examples with hidden states to compute for the cache."""
    stored = {digest for _, _, digest in _iterate_files(context) if _is_stored(context, digest)}
    count = 0
    for member in context.members:
        for table in TABLES:
            placement = place_hidden_states(member, table)
            count += sum(map(len, placement.memory))
            if placement.disk and hidden_digest(member, table) not in stored:
                count += sum(map(len, placement.disk))
    return count


def compute_recomputed_share(context: RunContext) -> float:
    """Return the share of training rows with uncached hidden states, 0 to 1."""
    placement = place_hidden_states(context, "train")
    kept = sum(map(len, (*placement.memory, *placement.disk)))
    return (
        1 - kept / len(context.train_examples) if count_bytes_per_token(context.objective) else 0.0
    )


def check_disk_space(context: RunContext) -> None:
    """Check that the hidden-state files fit on the disk.

    Raises:
        InputError: They do not fit.
    """
    needed, free = count_unwritten_bytes(context), count_free_bytes(context.plan.store_path)
    if needed > free:
        raise InputError(
            "[run] prefix_disk_mb",
            f"room for {needed / MEGABYTE:,.0f} MB of hidden states in {context.plan.store_path}",
            f"{free / MEGABYTE:,.0f} MB free",
            "Lower it, free some space, or move the store to another disk.",
        )


def _cache_hidden_states(context: RunContext, table: TableName) -> fastif.Examples:
    if context.study.has_trees:
        return _select_examples(context, table)
    with STAGE_TIMER.stage("hidden states"):
        file = open_hidden_file(context, table)
    return cache_hidden_states(
        context.objective, _select_examples(context, table), context.study, file
    )


def _collect_digests(context: RunContext) -> set[str]:
    """Return the cache keys of the files of all models; a member process has only its own."""
    parts = context.plan.record.parts
    models = [str(parts["model"]), *parts.get("models", [])]  # type: ignore[misc]
    return {hidden_digest(context, table, model) for model in models for table in TABLES}


def _is_stored(context: RunContext, digest: str) -> bool:
    store = context.existing_store
    return store is not None and store.find_artifact(KIND, digest) is not None


def _iterate_files(context: RunContext) -> Iterator[tuple[RunContext, TableName, str]]:
    """Yield the context, table and cache key of every hidden-state file of a study."""
    for member in context.members:
        for table in TABLES:
            if place_hidden_states(member, table).disk:
                yield member, table, hidden_digest(member, table)


def _count_bytes(context: RunContext, table: TableName, placement: CachePlan | None = None) -> int:
    groups: tuple[Tensor, ...] = (placement or place_hidden_states(context, table)).disk
    lengths = _select_examples(context, table).lengths
    return sum(int(lengths[places].sum()) for places in groups) * count_bytes_per_token(
        context.objective
    )


def _select_examples(context: RunContext, table: TableName) -> fastif.Examples:
    return context.train_examples if table == "train" else context.query_examples
