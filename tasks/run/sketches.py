"""Gradient sketches of the training rows, stored in chunks and computed once for each row.

There are three kinds of artifacts: the sketcher; chunks of sketches, in which rows are found by the
digest of their content; and, for each version of the training table, the list of the chunk and
position of every row. A killed run loses at most one chunk. After rows are added or changed, only
those are sketched.
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
from tasks.data.row_hashes import row_digest, row_digests
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
"""Number of sketches in a chunk: the most that a killed run loses."""


INDEX_TRAINING_SKETCHES = 100_000
"""Maximum number of sketches on which an approximate FAISS index is trained."""

SKETCHES = "sketches.safetensors"
LIST, INDEX = "sketches.json", "index.faiss"


def find_pending_sketches(context: RunContext, method: SketchSection, digest: str) -> PendingIndex:
    """Return what `write_sketches` would compute now, without writing."""
    store = context.existing_store
    if store is None:
        return PendingIndex(len(context.train_examples), has_sketcher=False)
    if has_sketches(store, digest):
        return PendingIndex(0, has_list=True)
    if not store.find_artifacts(format_family_kind(digests.sketch_family(context, method))):
        # No sketcher of this family, so that no row has a sketch.
        return PendingIndex(len(context.train_examples), has_sketcher=False)
    rows = row_digests(context.plan.inputs.train, context.study.labels)
    sketcher_ref = find_parent_sketcher(context) or find_reusable_sketcher(
        store, digests.sketch_family(context, method), rows, method
    )
    if sketcher_ref is None:
        return PendingIndex(len(set(rows)), has_sketcher=False)
    return PendingIndex(len(find_missing_rows(store, sketcher_ref.train_kind, rows)))


def write_sketches(context: RunContext, method: SketchSection, digest: str) -> None:
    """Sketch the training rows without a sketch, and write the list of all rows."""
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
    """Return the index of the sketches that `write_sketches` listed, and their sketcher.

    The exact index (`Flat`) is memory-mapped; others are FAISS indexes.
    """
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is built before the first shard"
    listing = json.loads((artifact / LIST).read_text())
    sketcher = read_sketcher(store, listing["sketcher"], objective)
    if factory != "Flat":
        return fastif.CandidateIndex.load(artifact / INDEX), sketcher
    places = pl.read_parquet(artifact / ROWS_FILE)
    return _make_sketch_index(
        store, SketcherRef(listing["sketcher"]), listing["blocks"], places
    ), sketcher


def read_sketcher_digest(store: Store, digest: str) -> str:
    """Return the cache key of the sketcher of an index."""
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is built before the first shard"
    return str(json.loads((artifact / LIST).read_text())["sketcher"])


def load_query_sketches(
    context: RunContext, search: fastif.SketchSearch, ids: torch.Tensor, keep: bool
) -> torch.Tensor:
    """Return the sketches of queries, [q, d], from the store or computed now.

    Args:
        context: Context of the run.
        search: Search that holds the sketcher.
        ids: Positions of the queries, [q].
        keep: Whether newly computed sketches are stored for later runs.
    """
    sketcher_ref = SketcherRef(read_sketcher_digest(context.store, index_digests(context)[0]))
    all_rows = _digest_queries(context)
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


def _digest_queries(context: RunContext) -> list[bytes]:
    """Return the cache key of each query: its content, its label and the measure of the study."""
    rows = row_digests(context.plan.inputs.queries, context.study.labels)
    measure = context.plan.record.parts.get("measure")
    return rows if measure is None else [row_digest(row, str(measure)) for row in rows]


def has_sketches(store: Store, digest: str) -> bool:
    """Return whether the list of rows, its chunks and its sketcher are all in the store."""
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
    """Build a FAISS index: train it on a sample of sketches, then add all in chunks."""
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
    """Return the chunk and position of every training row, and the names of these chunks.

    Of several chunks with a row the largest is taken, such as one into which others were merged.
    """
    folders = store.find_artifacts(sketcher_ref.train_kind)
    chunks = {name: pl.read_parquet(folder / ROWS_FILE) for name, folder in folders.items()}
    names = sorted(chunks, key=lambda name: (-len(chunks[name]), name))
    stored = [
        chunks[name].with_row_index("place").with_columns(chunk=pl.lit(name)) for name in names
    ]
    first = pl.concat(stored).unique("row", keep="first", maintain_order=True)
    locations = make_digest_frame(rows).join(first, on="row", how="left", maintain_order="left")
    used = set(locations["chunk"].to_list())
    blocks = [name for name in names if name in used]
    numbers = pl.DataFrame(
        {"chunk": blocks, "block": range(len(blocks))},
        schema={"chunk": pl.String, "block": pl.UInt32},
    )
    placed = locations.join(numbers, on="chunk", how="left", maintain_order="left")
    return placed.select("block", "place"), blocks


def _make_sketch_index(
    store: Store, sketcher_ref: SketcherRef, blocks: Sequence[str], places: pl.DataFrame
) -> SketchIndex:
    sketch_blocks = []
    by_block = places.with_row_index("id").partition_by("block", as_dict=True)
    for (number,), rows in sorted(by_block.items()):
        folder = store.find_artifact(sketcher_ref.train_kind, blocks[int(str(number))])
        assert folder is not None, "a listed chunk is never removed before its list"
        ids, positions = (torch.tensor(rows[name].to_list()) for name in ("id", "place"))
        sketch_blocks.append(SketchBlock(partial(map_chunk, folder / SKETCHES), ids, positions))
    return SketchIndex(sketch_blocks)
