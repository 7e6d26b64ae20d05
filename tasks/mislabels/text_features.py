"""Texts of a table as features that its labels have not touched.

Every text is encoded once and kept in the store, so that a night encodes new texts only.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from transformers import PreTrainedModel

import fastif
from fastif.mislabels.feature_views import TEXT_MIXES, Views
from fastif.mislabels.features import lexical
from fastif.mislabels.text_embeddings import compared, mean_pooled
from fastif.mislabels.tfidf import tf_idf, trigrams
from storage import Store
from tasks.data.dataset import Table
from tasks.models.locate import model_digest
from tasks.run.row_chunks import gathered, keep_block, missing_rows
from tasks.runtime.devices import devices_of
from tasks.runtime.progress import stage
from tasks.study.study import Study

FILE, BLOCK = "encoded.safetensors", 8192
LAYERS = 2
"""That `mean_pooled` tells of."""


@dataclass(frozen=True)
class Encoder:
    """The model that texts are read by.

    Attributes:
        folder: of its files.
        digest: of these.
        length: tokens of a text that are read.
    """

    folder: Path
    digest: str
    length: int

    @property
    def kind(self) -> str:
        """Kind of the parts that hold what it has read."""
        return f"encoded-2-{self.digest[:16]}-{self.length}"


def encoder_of(folder: Path, study: Study) -> Encoder:
    """An encoder as a study uses it."""
    longest, asked = fastif.encoder_length(folder), study.model.max_length
    return Encoder(folder, model_digest(folder), min(asked, longest or asked))


def views_of(store: Store, encoder: Encoder, study: Study, tables: Sequence[Table]) -> Views:
    """Views of the rows of some tables, one table after the other.

    What the encoder says of a text, or of a pair and how its texts differ, in its middle and in its
    last layer; and words and pairs of words in few dimensions.
    """
    columns = [[text for t in tables for text in t.texts]]
    if tables[0].text_pairs is not None:
        columns.append([text for table in tables for text in table.text_pairs or []])
    rows = [[_digest(text) for text in column] for column in columns]
    model, tokens = None, []
    for column, digests in zip(columns, rows, strict=True):
        missing = missing_rows(store, encoder.kind, digests)
        if len(missing) and model is None:
            model = fastif.load_encoder(encoder.folder)
        examples = _examples(encoder, study, column)
        tokens.append(examples.tokens)
        if model is not None and len(missing):
            _write(store, encoder.kind, model, examples, missing)
    read = [gathered(store, encoder.kind, digests, FILE) for digests in rows]
    layers = [[of[:, layer] for of in read] for layer in range(LAYERS)]
    said = [one[0] if len(one) == 1 else compared(*one) for one in layers]
    words = tf_idf(tokens)
    # Words of a pair say how its label is usually put, and nothing of how its texts relate.
    terms = (words, trigrams(columns[0])) if len(columns) == 1 else ()
    return Views.of([*said, lexical(words)], TEXT_MIXES, terms)


def encoded_width(encoder: Encoder) -> int:
    """Numbers that it says of a text."""
    return LAYERS * fastif.encoder_width(encoder.folder)


def unread(store: Store | None, encoder: Encoder, table: Table) -> int:
    """Texts of a table that the encoder has yet to read."""
    digests = [_digest(text) for text in (*table.texts, *(table.text_pairs or ()))]
    return len(set(digests)) if store is None else len(missing_rows(store, encoder.kind, digests))


def seconds_a_text(encoder: Encoder, study: Study, table: Table, sample: int = 32) -> float:
    """Measured on a few texts of the table."""
    model = fastif.load_encoder(encoder.folder)
    some = table.texts[:: max(1, len(table) // sample)][:sample]
    examples = _examples(encoder, study, some)
    start = time.perf_counter()
    mean_pooled(model, examples, fastif.every(examples), study.run.batch_size)
    return (time.perf_counter() - start) / len(some)


def _examples(encoder: Encoder, study: Study, texts: Sequence[str]) -> fastif.TextExamples:
    device = devices_of(study.run.devices)[0].torch
    tokenizer = fastif.load_tokenizer(encoder.folder)
    return fastif.encode(
        tokenizer, texts, None, [0] * len(texts), encoder.length, device, study.run.batch_tokens
    )


def _write(
    store: Store,
    kind: str,
    model: PreTrainedModel,
    examples: fastif.TextExamples,
    missing: pl.DataFrame,
) -> None:
    model.to(examples.device)  # type: ignore[arg-type]
    with stage("texts: encoder", len(missing)) as watch:
        watched = watch(examples)
        for part in missing.iter_slices(BLOCK):
            ids = torch.tensor(part["id"].to_list())
            found = mean_pooled(model, watched, ids)
            keep_block(store, kind, found, part, FILE)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
