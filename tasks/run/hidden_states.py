"""Hidden states on disk: what memory has no room for, a part of the store for the next night."""

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
from tasks.runtime.progress import progress_bar
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.runtime.versions import read_versions

KIND = "hidden"
VERSIONED_LIBRARIES = ("torch", "transformers")
"""Libraries of which another version may give other last digits."""

TableName = Literal["train", "queries"]
TABLES: tuple[TableName, ...] = ("train", "queries")


def get_train_examples(context: RunContext) -> fastif.Examples:
    """The training set with its frozen part computed once, as far as memory is allowed.

    As tokens where a run goes on by sketches: few rows are looked at then, each once.
    """
    if context.is_incremental_by_sketches:
        return context.train_texts
    return context.memo.get("train", lambda: _cache_hidden_states(context, "train"))


def get_query_examples(context: RunContext) -> fastif.Examples:
    """The queries, likewise; as tokens if several models read them."""
    if context.others or context.is_incremental_by_sketches:
        return context.query_texts
    return context.memo.get("queries", lambda: _cache_hidden_states(context, "queries"))


def place_hidden_states(context: RunContext, table: TableName) -> CachePlan:
    """Where the hidden states of a table are kept, within this model's share of both budgets.

    The training rows come first on the disk; the queries have what they leave. A run that goes on
    by sketches keeps none: it looks at few rows, once.
    """
    if context.is_incremental_by_sketches:
        return CachePlan((), ())
    run, models = context.study.run, 1 + len(context.study.models)
    token_bytes = count_bytes_per_token(context.objective)
    memory, disk = (mb * MEGABYTE // models for mb in (run.prefix_cache_mb, run.prefix_disk_mb))
    if not token_bytes:
        return CachePlan((), ())
    train = plan_cache(context.train_texts, token_bytes, memory, disk, GROUP)
    if table == "train":
        return train
    if models > 1:
        return CachePlan((), ())  # they are read as tokens
    disk_left = disk - _count_bytes(context, "train", train)
    return plan_cache(context.query_texts, token_bytes, memory, disk_left, GROUP)


def open_hidden_file(context: RunContext, table: TableName) -> HiddenStateFile | None:
    """The file of a table's hidden states that have no room in memory; written if it is not there.

    Files of other models and tables are removed before, so that the budget is that of all of them.

    Raises:
        StoreError: the disk is full.
    """
    groups, store = place_hidden_states(context, table).disk, context.existing_store
    if not groups or store is None:
        return None
    digest = hidden_digest(context, table)
    artifact = store.find_artifact(KIND, digest)
    if artifact is None:
        store.retain_artifacts(KIND, _collect_digests(context))
        with progress_bar("hidden states: to disk", sum(map(len, groups))) as advance:

            def write(folder: Path) -> None:
                HiddenStateFile.write(
                    folder, context.objective, _select_texts(context, table), groups, advance
                )

            artifact = store.write_artifact(KIND, digest, write)
    return HiddenStateFile(artifact)


def hidden_digest(context: RunContext, table: TableName, model: str | None = None) -> str:
    """Of what a file holds: the states of a model's frozen layers for some rows of a table.

    Args:
        context: has the model and the table.
        table: the table.
        model: digest of another model of the study that is cut alike.
    """
    placement, library_versions = place_hidden_states(context, table), read_versions()
    parts = context.plan.record.parts
    return compute_fingerprint(
        {
            "model": model or context.model_digest,
            "cut": context.objective.num_frozen_layers,
            "padding": context.objective.padding.side,
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
    """Of the files that are yet to be written."""
    return sum(
        _count_bytes(member, table)
        for member, table, digest in _iterate_files(context)
        if not _is_stored(context, digest)
    )


def count_states_to_compute(context: RunContext) -> int:
    """Examples whose hidden states are computed once, for memory or for a file."""
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
    """Part of the training rows whose hidden states are kept nowhere."""
    placement = place_hidden_states(context, "train")
    kept = sum(map(len, (*placement.memory, *placement.disk)))
    return 1 - kept / len(context.train_texts) if count_bytes_per_token(context.objective) else 0.0


def check_disk_space(context: RunContext) -> None:
    """Refuse files that the disk has no room for.

    Raises:
        InputError: it has not.
    """
    needed, free = count_unwritten_bytes(context), count_free_bytes(context.plan.store_path)
    if needed > free:
        raise InputError(
            "[run] prefix_disk_mb",
            f"room for {needed / MEGABYTE:,.0f} MB of hidden states in {context.plan.store_path}",
            f"{free / MEGABYTE:,.0f} MB free",
            "Lower it, free some space, or put the store on another disk.",
        )


def _cache_hidden_states(context: RunContext, table: TableName) -> fastif.Examples:
    with STAGE_TIMER.stage("hidden states"):
        file = open_hidden_file(context, table)
    return cache_hidden_states(
        context.objective, _select_texts(context, table), context.study, file
    )


def _collect_digests(context: RunContext) -> set[str]:
    """Of the files of every model of the study; a member of several does not know the others."""
    parts = context.plan.record.parts
    models = [str(parts["model"]), *parts.get("models", [])]  # type: ignore[misc]
    return {hidden_digest(context, table, model) for model in models for table in TABLES}


def _is_stored(context: RunContext, digest: str) -> bool:
    store = context.existing_store
    return store is not None and store.find_artifact(KIND, digest) is not None


def _iterate_files(context: RunContext) -> Iterator[tuple[RunContext, TableName, str]]:
    """Every file of a study: its model, its table, its digest."""
    for member in context.members:
        for table in TABLES:
            if place_hidden_states(member, table).disk:
                yield member, table, hidden_digest(member, table)


def _count_bytes(context: RunContext, table: TableName, placement: CachePlan | None = None) -> int:
    groups: tuple[Tensor, ...] = (placement or place_hidden_states(context, table)).disk
    lengths = _select_texts(context, table).lengths
    return sum(int(lengths[places].sum()) for places in groups) * count_bytes_per_token(
        context.objective
    )


def _select_texts(context: RunContext, table: TableName) -> fastif.TextExamples:
    return context.train_texts if table == "train" else context.query_texts
