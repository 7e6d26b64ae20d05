"""Embeddings of training rows that a detection of wrong labels has left in the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.mislabels.text_embeddings import make_pair_features
from storage import Store
from tasks.mislabels.text_features import ENCODED, FILE, hash_text
from tasks.run.row_chunks import ROWS_FILE, gather_rows, make_digest_frame

MIN_STORED = 0.5
"""Least share of training rows with embeddings; below it they are not used."""


@dataclass(frozen=True, eq=False)
class EncoderFeatures:
    """Stored embeddings of training rows: mean-pooled last hidden states of a text encoder.

    Attributes:
        store: Store of the run.
        kind: Kind of the artifacts with the embeddings.
        columns: Digests of the texts, one sequence a text column.
        is_stored: Whether all texts of a training row are embedded, [n].
    """

    store: Store
    kind: str
    columns: tuple[Sequence[bytes], ...]
    is_stored: Bool[np.ndarray, " n"]

    @property
    def encoder(self) -> str:
        """First digits of the digest of the encoder's files."""
        return self.kind.removeprefix(ENCODED).split("-")[0][:8]

    def read(self, rows: Sequence[int]) -> Float[Tensor, "m d"]:
        """Read the features of training rows; those of text pairs are `make_pair_features`.

        Args:
            rows: Positions of rows that are stored.
        """
        parts = []
        for column in self.columns:
            digests = [column[row] for row in rows]
            parts.append(gather_rows(self.store, self.kind, digests, FILE)[:, -1].float())
        return parts[0] if len(parts) == 1 else make_pair_features(*parts)


def find_encoder_features(store: Store, train: pl.DataFrame) -> EncoderFeatures | None:
    """Find the embeddings of a run's training rows; None if most rows have none.

    Of several encoders the one that embeds most rows is used, and of those with equally many the
    one that was written last.

    Args:
        store: Store of the run.
        train: Table `train` of the run.
    """
    has_pairs = train["text_pair"].null_count() < len(train)
    names = ("text", "text_pair") if has_pairs else ("text",)
    texts = [train[name].fill_null("").to_list() for name in names]
    kinds = store.list_artifact_kinds(ENCODED)
    # Only the encoder's tokenizer knows which texts are in windows, so both digests are looked up.
    plain = [[hash_text(text, False) for text in column] for column in texts] if kinds else []
    long = [[hash_text(text, True) for text in column] for column in texts] if kinds else []
    candidates = []
    for kind in kinds:
        chunks = list(store.find_artifacts(kind).values())
        stored = _read_digests(chunks)
        columns = tuple(_select_stored(*both, stored) for both in zip(plain, long, strict=True))
        is_stored = np.logical_and.reduce([_is_in(column, stored) for column in columns])
        written = max(((folder / ROWS_FILE).stat().st_mtime for folder in chunks), default=0.0)
        features = EncoderFeatures(store, kind, columns, is_stored)
        if is_stored.any() and is_stored.mean() >= MIN_STORED:
            candidates.append((is_stored.sum(), written, features))
    return max(candidates, key=lambda each: each[:2])[2] if candidates else None


def _read_digests(chunks: Sequence[Path]) -> pl.Series:
    frames = [pl.read_parquet(folder / ROWS_FILE, columns=["row"]) for folder in chunks]
    return pl.concat([make_digest_frame([]), *frames])["row"]


def _select_stored(plain: Sequence[bytes], long: Sequence[bytes], stored: pl.Series) -> list[bytes]:
    """Select the digest of each text under which it is stored; that of a short text else."""
    is_long = _is_in(long, stored)
    return [b if use_long else a for a, b, use_long in zip(plain, long, is_long, strict=True)]


def _is_in(digests: Sequence[bytes], stored: pl.Series) -> Bool[np.ndarray, " n"]:
    frame = make_digest_frame(digests).with_row_index("id")
    positions = frame.join(stored.unique().to_frame("row"), on="row", how="semi")["id"]
    is_in = np.zeros(len(digests), bool)
    is_in[positions.to_numpy()] = True
    return is_in
