"""Row vectors in chunks: artifacts in which each row is found by the digest of its content.

A killed run loses at most one chunk. After rows are added or changed, only those are computed.
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
    """Return the distinct rows that are in no chunk, with digest and first position."""
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
    """Write a chunk: the vectors of these rows, in their order."""
    name = compute_fingerprint({"rows": [row.hex() for row in rows["row"]]})
    store.write_artifact(kind, name, partial(_write_files, vectors, rows, file))


def gather_rows(store: Store, kind: str, rows: Sequence[bytes], file: str) -> torch.Tensor:
    """Return the stored vectors of these rows in their order; every row has to be stored."""
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
    """Memory-map the vectors of a chunk."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("rows")


def make_digest_frame(rows: Sequence[bytes]) -> pl.DataFrame:
    """Return row digests as a frame with the binary column `row`."""
    return pl.DataFrame({"row": list(rows)}, schema={"row": pl.Binary})


def _write_files(vectors: torch.Tensor, rows: pl.DataFrame, file: str, folder: Path) -> None:
    save_file({"rows": vectors.contiguous()}, folder / file)
    rows.select("row").write_parquet(folder / ROWS_FILE)


def _iterate_digests(store: Store, kind: str) -> Iterator[pl.DataFrame]:
    """Yield the row digests of each chunk."""
    for folder in store.find_artifacts(kind).values():
        yield pl.read_parquet(folder / ROWS_FILE)
