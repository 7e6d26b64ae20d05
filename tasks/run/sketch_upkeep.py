"""Upkeep of stored sketches: few chunks and few lists of rows, however many nights there were."""

import json
from collections.abc import Collection

from storage import Store
from tasks.run.artifact_keys import index_digests
from tasks.run.chunk_merge import find_replaced_chunks, merge_chunks
from tasks.run.context import RunContext
from tasks.run.sketcher_store import SketcherRef
from tasks.run.sketches import INDEX, LIST, ROWS_PER_CHUNK, SKETCHES

UNUSED_DAYS = 30.0
"""Days without a use after which a list of sketches is removed; an audit of its table writes it
again from the chunks."""


def merge_sketches(context: RunContext) -> None:
    """Merge small chunks of sketches, and remove those that were merged a day ago or before.

    A chunk of training rows stays as long as a list of a run refers to it.
    """
    store, candidates = context.store, context.candidates
    digests = index_digests(context.searcher) if candidates.methods else ()
    lists = [folder for digest in digests if (folder := store.find_artifact("index", digest))]
    for path in [folder / LIST for folder in lists if (folder / LIST).is_file()]:
        sketcher_ref = SketcherRef(json.loads(path.read_text())["sketcher"])
        for kind in (sketcher_ref.query_kind, sketcher_ref.train_kind):
            merge_chunks(store, kind, SKETCHES, ROWS_PER_CHUNK)
        for name in find_replaced_chunks(store, sketcher_ref.query_kind, SKETCHES):
            store.remove_artifact(sketcher_ref.query_kind, name)
        _remove_replaced_train_chunks(store, sketcher_ref, digests)


def _remove_replaced_train_chunks(
    store: Store, sketcher_ref: SketcherRef, in_use: Collection[str]
) -> None:
    replaced = find_replaced_chunks(store, sketcher_ref.train_kind, SKETCHES)
    if not replaced:
        return
    _remove_unused_lists(store, in_use)
    listed = set()
    for folder in store.find_artifacts("index").values():
        if (folder / LIST).is_file():
            listed |= set(json.loads((folder / LIST).read_text())["blocks"])
    for name in set(replaced) - listed:
        store.remove_artifact(sketcher_ref.train_kind, name)


def _remove_unused_lists(store: Store, in_use: Collection[str]) -> None:
    """Remove the lists without an index of FAISS, which takes time to build, that no run uses."""
    unused = store.find_unused_artifacts(UNUSED_DAYS, [("index", digest) for digest in in_use])
    names: dict[str, set[str]] = {}
    for leftover in unused:
        _, kind, digest, name = leftover.path.split("/", 3)
        if kind == "index":
            names.setdefault(digest, set()).add(name.rpartition("/")[2])
    for digest, files in names.items():
        if LIST in files and INDEX not in files:
            store.remove_artifact("index", digest)
