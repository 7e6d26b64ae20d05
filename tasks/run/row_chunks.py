"""Rows of numbers in blocks: parts of the store that are found again by the digests of their rows.

A killed run loses one block at most, and rows that are added or changed later are all that is
computed then.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from storage import Store, compute_fingerprint

ROWS_FILE = "rows.parquet"


def find_missing_rows(store: Store, kind: str, rows: Sequence[bytes]) -> pl.DataFrame:
    """The rows that are in no block, each once: its digest and its first position."""
    frame = (
        make_digest_frame(rows)
        .with_row_index("id")
        .unique("row", keep="first", maintain_order=True)
    )
    stored = pl.concat([pl.DataFrame(schema={"row": pl.Binary}), *_iterate_digests(store, kind)])
    return frame.join(stored, on="row", how="anti", maintain_order="left")


def write_chunk(
    store: Store, kind: str, vectors: torch.Tensor, rows: pl.DataFrame, file: str
) -> None:
    """Commit a block: what was found for these rows, in their order."""
    name = compute_fingerprint({"rows": [row.hex() for row in rows["row"]]})
    store.write_artifact(kind, name, partial(_write_files, vectors, rows, file))


def gather_rows(store: Store, kind: str, rows: Sequence[bytes], file: str) -> torch.Tensor:
    """What the blocks of a kind hold of these rows, in their order; all are there."""
    frame = make_digest_frame(rows).with_row_index("id")
    out: torch.Tensor | None = None
    for folder in store.find_artifacts(kind).values():
        chunk = pl.read_parquet(folder / ROWS_FILE).with_row_index("place")
        places = frame.join(chunk, on="row", how="inner")
        if places.is_empty():
            continue
        vectors = map_chunk(folder / file)
        if out is None:
            out = torch.empty(len(frame), *vectors.shape[1:], dtype=vectors.dtype)
        out[torch.tensor(places["id"].to_list())] = vectors[torch.tensor(places["place"].to_list())]
    assert out is not None, "rows are written before they are read"
    return out


def map_chunk(path: Path) -> torch.Tensor:
    """A block's numbers; the file is mapped, not read, as long as somebody holds them."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("rows")


def make_digest_frame(rows: Sequence[bytes]) -> pl.DataFrame:
    """Digests as a column."""
    return pl.DataFrame({"row": list(rows)}, schema={"row": pl.Binary})


def _write_files(vectors: torch.Tensor, rows: pl.DataFrame, file: str, folder: Path) -> None:
    save_file({"rows": vectors.contiguous()}, folder / file)
    rows.select("row").write_parquet(folder / ROWS_FILE)


def _iterate_digests(store: Store, kind: str) -> Iterator[pl.DataFrame]:
    """The rows of each block."""
    for folder in store.find_artifacts(kind).values():
        yield pl.read_parquet(folder / ROWS_FILE)
