"""Sketches of the training rows, kept in blocks and made once for each row.

Three kinds of parts: the sketcher; blocks of sketches, found again by the digests of the rows in
them; and, for each state of the training table, the list of where its rows lie. A killed run loses
one block at most, and rows that are added or changed later are all that is sketched then.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl
import torch

import fastif
from fastif.candidates import (
    GradientSketcher,
    Index,
    compute_query_sketches,
    compute_train_sketches,
)
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from storage import Store
from tasks.data.row_hashes import row_digests
from tasks.run import artifact_keys as digests
from tasks.run.artifact_keys import index_digests
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.row_chunks import (
    ROWS_FILE,
    find_missing_rows,
    make_digest_frame,
    map_chunk,
    write_chunk,
)
from tasks.run.sketcher_store import (
    SketcherRef,
    find_or_fit_sketcher,
    find_parent_sketcher,
    find_reusable_sketcher,
    format_family_kind,
    read_sketcher,
)
from tasks.runtime.progress import progress_stage
from tasks.study.index_cost import PendingIndex
from tasks.study.index_sections import SketchSection

ROWS_PER_CHUNK = 8192
"""Sketches a block: what a killed run loses at most."""


INDEX_TRAINING_SKETCHES = 100_000
"""Sketches that an approximate index learns its cells from."""

SKETCHES = "sketches.safetensors"
LIST, INDEX = "sketches.json", "index.faiss"


def find_pending_sketches(context: RunContext, method: SketchSection, digest: str) -> PendingIndex:
    """What `write_sketches` would do now; nothing is written."""
    store = context.existing_store
    if store is None:
        return PendingIndex(len(context.train_texts), has_sketcher=False)
    if has_sketches(store, digest):
        return PendingIndex(0, has_list=True)
    if not store.find_artifacts(format_family_kind(digests.sketch_family(context, method))):
        # No need to look at every row.
        return PendingIndex(len(context.train_texts), has_sketcher=False)
    rows = row_digests(context.plan.inputs.train, context.study.labels)
    sketcher_ref = find_parent_sketcher(context) or find_reusable_sketcher(
        store, digests.sketch_family(context, method), rows, method
    )
    if sketcher_ref is None:
        return PendingIndex(len(set(rows)), has_sketcher=False)
    return PendingIndex(len(find_missing_rows(store, sketcher_ref.train_kind, rows)))


def write_sketches(context: RunContext, method: SketchSection, digest: str) -> None:
    """Sketch the training rows that have none yet, and list where all of them lie."""
    rows = row_digests(context.plan.inputs.train, context.study.labels)
    sketcher_ref = find_or_fit_sketcher(context, method, rows)
    sketcher = read_sketcher(context.store, sketcher_ref.digest, context.objective)
    _write_missing_sketches(context, sketcher, sketcher_ref, rows)
    places, blocks = _locate_rows(context.store, sketcher_ref, rows)

    def write(folder: Path) -> None:
        (folder / LIST).write_text(json.dumps({"sketcher": sketcher_ref.digest, "blocks": blocks}))
        places.write_parquet(folder / ROWS_FILE)
        if method.factory != "Flat":
            sketch_index = _make_sketch_index(context.store, sketcher_ref, blocks, places)
            build_approximate_index(sketch_index, method.factory).save(folder / INDEX)

    context.store.write_artifact("index", digest, write)


def read_sketches(
    store: Store, digest: str, factory: str, objective: fastif.Objective
) -> tuple[Index, GradientSketcher]:
    """What `write_sketches` listed: mapped into memory, or the approximate index of it."""
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is prepared before any shard"
    listing = json.loads((artifact / LIST).read_text())
    sketcher = read_sketcher(store, listing["sketcher"], objective)
    if factory != "Flat":
        return fastif.CandidateIndex.load(artifact / INDEX), sketcher
    places = pl.read_parquet(artifact / ROWS_FILE)
    return _make_sketch_index(
        store, SketcherRef(listing["sketcher"]), listing["blocks"], places
    ), sketcher


def read_sketcher_digest(store: Store, digest: str) -> str:
    """Digest of the sketcher behind an index of sketches."""
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is prepared before any shard"
    return str(json.loads((artifact / LIST).read_text())["sketcher"])


def load_query_sketches(
    context: RunContext, search: fastif.SketchSearch, ids: torch.Tensor, keep: bool
) -> torch.Tensor:
    """Sketches of these queries, [q d]: those that an earlier night kept, and the others made now.

    Args:
        context: the study.
        search: has the sketcher.
        ids: positions of the queries.
        keep: whether those that are made are kept for the next night.
    """
    sketcher_ref = SketcherRef(read_sketcher_digest(context.store, index_digests(context)[0]))
    all_rows = row_digests(context.plan.inputs.queries, context.study.labels)
    rows = [all_rows[i] for i in ids.tolist()]
    missing = find_missing_rows(context.store, sketcher_ref.query_kind, rows)
    gradients = fastif.Gradients(context.objective)
    new_ids = ids[torch.tensor(missing["id"].to_list(), dtype=torch.long)]
    new_sketches = compute_query_sketches(
        search.sketcher, gradients, get_query_examples(context), new_ids
    )
    if keep and len(new_ids):
        write_chunk(context.store, sketcher_ref.query_kind, new_sketches.cpu(), missing, SKETCHES)
    sketch_by_row = dict(zip(missing["row"].to_list(), new_sketches, strict=True))
    for folder in context.store.find_artifacts(sketcher_ref.query_kind).values():
        block = pl.read_parquet(folder / ROWS_FILE)["row"].to_list()
        if not sketch_by_row.keys() >= set(rows) and not set(rows).isdisjoint(block):
            stored = map_chunk(folder / SKETCHES).to(new_sketches.device)
            sketch_by_row |= {
                row: stored[i] for i, row in enumerate(block) if row not in sketch_by_row
            }
    return torch.stack([sketch_by_row[row] for row in rows]) if rows else new_sketches


def has_sketches(store: Store, digest: str) -> bool:
    """Whether the list is there, and every block and the sketcher that it names."""
    artifact = store.find_artifact("index", digest)
    if artifact is None:
        return False
    listing = json.loads((artifact / LIST).read_text())
    blocks = (
        store.find_artifact(SketcherRef(listing["sketcher"]).train_kind, name)
        for name in listing["blocks"]
    )
    return store.find_artifact("sketcher", listing["sketcher"]) is not None and all(blocks)


def build_approximate_index(sketch_index: SketchIndex, factory: str) -> fastif.CandidateIndex:
    """By FAISS' factory string, taught by some sketches and filled piece by piece."""
    count = sketch_index.count
    sample = torch.arange(0, count, -(-count // INDEX_TRAINING_SKETCHES))
    index = fastif.CandidateIndex.train_on_sample(sketch_index.take(sample), factory, products=True)
    for ids in torch.arange(count).split(ROWS_PER_CHUNK):
        index.add(sketch_index.take(ids))
    return index


def _write_missing_sketches(
    context: RunContext,
    sketcher: GradientSketcher,
    sketcher_ref: SketcherRef,
    rows: Sequence[bytes],
) -> None:
    missing = find_missing_rows(context.store, sketcher_ref.train_kind, rows)
    if missing.is_empty():
        return
    gradients = fastif.Gradients(context.objective)
    with progress_stage("training rows: sketches", len(missing)) as watch:
        train = watch(get_train_examples(context))
        for batch in missing.iter_slices(ROWS_PER_CHUNK):
            ids = torch.tensor(batch["id"].to_list())
            sketches = compute_train_sketches(sketcher, gradients, train, ids)
            write_chunk(context.store, sketcher_ref.train_kind, sketches, batch, SKETCHES)


def _locate_rows(
    store: Store, sketcher_ref: SketcherRef, rows: Sequence[bytes]
) -> tuple[pl.DataFrame, list[str]]:
    """Block and place in it of every training row, and the names of the blocks."""
    blocks = store.find_artifacts(sketcher_ref.train_kind)
    stored = [
        pl.read_parquet(folder / ROWS_FILE)
        .with_row_index("place")
        .with_columns(block=pl.lit(number, pl.UInt32))
        for number, folder in enumerate(blocks.values())
    ]
    # Two runs at once may have sketched the same row, each in a block of its own.
    first = pl.concat(stored).unique("row", keep="first", maintain_order=True)
    locations = make_digest_frame(rows).join(first, on="row", how="left", maintain_order="left")
    return locations.select("block", "place"), list(blocks)


def _make_sketch_index(
    store: Store, sketcher_ref: SketcherRef, blocks: Sequence[str], places: pl.DataFrame
) -> SketchIndex:
    sketch_blocks = []
    by_block = places.with_row_index("id").partition_by("block", as_dict=True)
    for (number,), rows in sorted(by_block.items()):
        folder = store.find_artifact(sketcher_ref.train_kind, blocks[int(str(number))])
        assert folder is not None, "a block that is listed is never removed before its list"
        ids, positions = (torch.tensor(rows[name].to_list()) for name in ("id", "place"))
        sketch_blocks.append(SketchBlock(partial(map_chunk, folder / SKETCHES), ids, positions))
    return SketchIndex(sketch_blocks)
