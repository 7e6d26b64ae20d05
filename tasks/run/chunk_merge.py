"""Merging of the small chunks that nights with few new rows leave; see `tasks.run.row_chunks`."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from storage import Store, compute_fingerprint
from storage.garbage_collection import GRACE_SECONDS
from tasks.run.row_chunks import ROWS_FILE, make_digest_frame, map_chunk

MANY_CHUNKS = 16
"""Number of small chunks that are merged; fewer are left, since each merge reads all of them."""
MERGED_AT = "merged_at"
"""Metadata of a merged chunk: its time in seconds since 1970."""


def merge_chunks(store: Store, kind: str, file: str, rows_per_chunk: int) -> bool:
    """Write the rows of many small chunks as one more chunk; return whether there were as many.

    The small chunks stay until `find_replaced_chunks` returns them.

    Args:
        store: Store of the study.
        kind: Kind of the chunks.
        file: Name of the file of vectors.
        rows_per_chunk: Number of rows from which on a chunk is not small.
    """
    folders = store.find_artifacts(kind)
    rows = {name: read_chunk_rows(folder) for name, folder in folders.items()}
    replaced = _find_subsets(rows)
    small = {
        name: own
        for name, own in rows.items()
        if name not in replaced and len(own) < rows_per_chunk
    }
    if len(small) < MANY_CHUNKS:
        return False
    frames = [
        make_digest_frame(own).with_row_index("place").with_columns(chunk=pl.lit(name))
        for name, own in small.items()
    ]
    merged = pl.concat(frames).unique("row", keep="first", maintain_order=True)
    vectors = torch.cat(
        [
            map_chunk(folders[str(name)] / file)[torch.tensor(part["place"].to_list())]
            for (name,), part in merged.partition_by(
                "chunk", as_dict=True, maintain_order=True
            ).items()
        ]
    )
    digest = compute_fingerprint({"rows": [row.hex() for row in merged["row"]]})
    metadata = {MERGED_AT: f"{time.time():.0f}"}

    def write(folder: Path) -> None:
        save_file({"rows": vectors.contiguous()}, folder / file, metadata)
        merged.select("row").write_parquet(folder / ROWS_FILE)

    store.write_artifact(kind, digest, write)
    return True


def find_replaced_chunks(store: Store, kind: str, file: str) -> list[str]:
    """Return the names of chunks whose rows are all in a chunk that was merged a day ago or before.

    Until then another process may have their list.
    """
    folders = store.find_artifacts(kind)
    latest = time.time() - GRACE_SECONDS
    rows = {name: read_chunk_rows(folder) for name, folder in folders.items()}
    merged = {name for name, folder in folders.items() if _read_merge_time(folder / file) <= latest}
    return sorted(_find_subsets(rows, merged))


def read_chunk_rows(folder: Path) -> list[bytes]:
    """Return the digests of the rows of a chunk."""
    return pl.read_parquet(folder / ROWS_FILE)["row"].to_list()


def _find_subsets(
    rows: Mapping[str, Collection[bytes]], supersets: Collection[str] | None = None
) -> set[str]:
    """Return the chunks whose rows are all in a larger chunk, one of `supersets` if given.

    Of chunks with equal rows the first by name is kept.
    """
    sets = {name: frozenset(own) for name, own in rows.items()}
    order = sorted(sets, key=lambda name: (-len(sets[name]), name))
    kept = [name for name in order if supersets is None or name in supersets]
    place = {name: number for number, name in enumerate(order)}
    return {
        name
        for name in order
        if any(place[other] < place[name] and sets[name] <= sets[other] for other in kept)
    }


def _read_merge_time(path: Path) -> float:
    """Return when a chunk was merged; infinity if it was not."""
    with safe_open(path, framework="pt") as file:
        return float((file.metadata() or {}).get(MERGED_AT, "inf"))
