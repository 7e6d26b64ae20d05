"""Label-free features of texts: embeddings of an encoder, LSA, and n-gram terms.

Every text is encoded once and cached in the store, so that a later run encodes new texts only.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from transformers import PreTrainedModel

import fastif
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa
from fastif.mislabels.text_embeddings import make_pair_features
from fastif.mislabels.tfidf import char_trigrams, tf_idf
from fastif.models.pretrained import load_encoder, read_encoder_max_length, read_encoder_width
from storage import Store
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table
from tasks.mislabels.text_windows import TextWindows, split_windows
from tasks.models.locate import compute_model_digest
from tasks.run.row_chunks import find_missing_rows, gather_rows, write_chunk
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_stage
from tasks.study.study import Study

FILE, CHUNK_ROWS = "encoded.safetensors", 8192
ENCODED = "encoded-3-"
"""Prefix of the artifact kinds with embeddings, one kind for each encoder and maximum length."""
LAYERS = 2
"""Number of layers that `mean_pool` returns."""


@dataclass(frozen=True)
class TextEncoder:
    """Text encoder of a study.

    Attributes:
        folder: Folder of the model files.
        digest: Digest of the model files.
        max_tokens: Maximum number of tokens of a window; longer texts have several.
    """

    folder: Path
    digest: str
    max_tokens: int

    @property
    def artifact_kind(self) -> str:
        """Kind of the artifacts with cached embeddings."""
        return f"{ENCODED}{self.digest[:16]}-{self.max_tokens}"


def make_encoder(folder: Path, study: Study) -> TextEncoder:
    """Return the encoder of a study."""
    longest, max_length = read_encoder_max_length(folder), study.model.max_length
    return TextEncoder(folder, compute_model_digest(folder), min(max_length, longest or max_length))


def make_text_views(
    store: Store, encoder: TextEncoder, study: Study, tables: Sequence[Table]
) -> FeatureViews:
    """Return feature views of the rows of several tables, concatenated in order.

    The views are mean-pooled hidden states of the middle layer, those of the last layer, and LSA of
    words. A text pair has the features of `make_pair_features`. A text that is longer than the
    encoder is embedded in windows.
    """
    columns = [[text for table in tables for text in table.texts]]
    if tables[0].text_pairs is not None:
        columns.append([text for table in tables for text in table.text_pairs or []])
    model, tokens, column_digests = None, [], []
    for column in columns:
        windows = _split_texts(encoder, study, column)
        announce_notes(windows.describe(encoder.max_tokens))
        digests = [hash_text(text, windows.is_long(i)) for i, text in enumerate(column)]
        missing = find_missing_rows(store, encoder.artifact_kind, digests)
        if len(missing) and model is None:
            model = load_encoder(encoder.folder)
        tokens.append(windows.tokens)
        column_digests.append(digests)
        if model is not None and len(missing):
            _write_embeddings(store, encoder.artifact_kind, model, windows, missing)
    embeddings = [
        gather_rows(store, encoder.artifact_kind, digests, FILE) for digests in column_digests
    ]
    layers = [[embedding[:, layer] for embedding in embeddings] for layer in range(LAYERS)]
    features = [
        per_text[0] if len(per_text) == 1 else make_pair_features(*per_text) for per_text in layers
    ]
    word_terms = tf_idf(tokens)
    # Words of a pair predict its label by annotation artifacts, not by how its texts relate.
    terms = (word_terms, char_trigrams(columns[0])) if len(columns) == 1 else ()
    views = [*features, compute_lsa(word_terms)]
    return FeatureViews.from_features(views, TEXT_WEIGHTS, terms, in_place=True)


def compute_embedding_width(encoder: TextEncoder) -> int:
    """Return the number of embedding columns of a text."""
    return LAYERS * read_encoder_width(encoder.folder)


def count_unencoded(store: Store | None, encoder: TextEncoder, table: Table) -> int:
    """Return the number of distinct texts of a table without a cached embedding."""
    texts = {*table.texts, *(table.text_pairs or ())}
    if store is None:
        return len(texts)
    # Only the tokenizer knows which are in windows, so that each is counted in both forms.
    digests = [hash_text(text, is_long) for is_long in (False, True) for text in texts]
    return len(find_missing_rows(store, encoder.artifact_kind, digests)) - len(texts)


def measure_seconds_per_text(
    encoder: TextEncoder, study: Study, table: Table, sample: int = 32
) -> float:
    """Measure the encoding time on a few texts of the table, seconds a text."""
    model = load_encoder(encoder.folder)
    texts = table.texts[:: max(1, len(table) // sample)][:sample]
    windows = _split_texts(encoder, study, texts)
    start = time.perf_counter()
    windows.embed(model, windows.windows, range(len(texts)))
    return (time.perf_counter() - start) / len(texts)


def _split_texts(encoder: TextEncoder, study: Study, texts: Sequence[str]) -> TextWindows:
    device = resolve_devices(study.run.devices)[0].torch
    tokenizer, size = fastif.load_tokenizer(encoder.folder), encoder.max_tokens
    examples = fastif.encode(
        tokenizer, texts, None, [0] * len(texts), size, device, study.run.batch_tokens
    )
    return split_windows(tokenizer, examples, texts, size)


def _write_embeddings(
    store: Store, kind: str, model: PreTrainedModel, windows: TextWindows, missing: pl.DataFrame
) -> None:
    model.to(windows.windows.device)  # type: ignore[arg-type]
    texts = missing["id"].to_list()
    count = sum(windows.counts[text] for text in texts)
    with progress_stage("texts: encoder", count, "texts") as track:
        tracked = track(windows.windows)
        for chunk in missing.iter_slices(CHUNK_ROWS):
            embeddings = windows.embed(model, tracked, chunk["id"].to_list())
            write_chunk(store, kind, embeddings, chunk, FILE)


def hash_text(text: str, is_long: bool) -> bytes:
    """Digest of a text; of one in windows it differs from that of the truncated text."""
    content = text.encode() + (b"\0windows" if is_long else b"")
    return hashlib.sha256(content).digest()[:16]
