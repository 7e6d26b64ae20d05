"""Label-free features of images: embeddings of an image model below its head.

Every image is embedded once and cached in the store, so that a later run embeds new images only.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from fastif import Examples, InputError
from fastif.data.examples import Batch
from fastif.data.image_examples import ImageExamples
from fastif.mislabels.feature_views import FeatureViews
from fastif.mislabels.features import concat_views
from fastif.mislabels.image_embeddings import embed_rows, pool_hidden_states
from fastif.models.image_pretrained import (
    check_processor_files,
    load_image_encoder,
    load_image_processor,
)
from storage import Store
from tasks.data.dataset import Table
from tasks.data.encoded_images import EncodedImages
from tasks.models.locate import compute_model_digest
from tasks.run.row_chunks import find_missing_rows, gather_rows, write_chunk
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_stage
from tasks.study.study import Study

FILE, CHUNK_ROWS = "embedded.safetensors", 8192
EMBEDDED = "embedded-images-1-"
"""Prefix of the artifact kinds with embeddings of images, one kind for each model."""
SAMPLE = 16
Embed = Callable[[Batch], Tensor]
"""Function from a batch of images to their embeddings, [b d]."""


@dataclass(frozen=True)
class ImageEncoder:
    """Image model of a study that embeds images.

    Attributes:
        folder: Folder of the model files.
        digest: Digest of the model files.
    """

    folder: Path
    digest: str

    @property
    def artifact_kind(self) -> str:
        """Kind of the artifacts with cached embeddings."""
        return f"{EMBEDDED}{self.digest[:16]}"

    def hash_images(self, table: Table) -> list[bytes]:
        """Return the digests of a table's images, by which embeddings are cached.

        Raises:
            InputError: The table has pixels and no encoded images.
        """
        return [digest[:16] for digest in _get_images(table).digests]

    def load(self, study: Study, table: Table) -> tuple[Embed, Examples]:
        """Return the function from a batch to its embeddings, and the images of a table."""
        device = resolve_devices(study.run.devices)[0].torch
        model = load_image_encoder(self.folder)
        processor = load_image_processor(self.folder, model)
        model.to(device)  # type: ignore[arg-type]
        labels = torch.tensor(table.labels)
        images = _get_images(table)
        examples = ImageExamples(images, labels, processor, device, budget_bytes=0)
        return partial(pool_hidden_states, model), examples


def make_image_encoder(folder: Path) -> ImageEncoder:
    """Return the image model of a folder.

    Raises:
        InputError: The folder has no image processor.
    """
    check_processor_files(folder)
    return ImageEncoder(folder, compute_model_digest(folder))


def make_image_views(
    store: Store, encoder: ImageEncoder, study: Study, tables: Sequence[Table]
) -> FeatureViews:
    """Return the standardized embeddings of the rows of several tables, in order."""
    digests = [digest for table in tables for digest in encoder.hash_images(table)]
    for table in tables:
        missing = find_missing_rows(store, encoder.artifact_kind, encoder.hash_images(table))
        if len(missing):
            _write_embeddings(store, encoder, study, table, missing)
    embeddings = gather_rows(store, encoder.artifact_kind, digests, FILE)
    return FeatureViews((concat_views([embeddings.float()]),), ((1.0,),))


def _get_images(table: Table) -> EncodedImages:
    images = table.measurements.encoded if table.measurements is not None else None
    if images is None:
        raise InputError(
            f"images of {table.place}",
            "encoded images, such as PNG or JPEG, or paths of their files",
            "one byte per pixel, which has no height and width",
            "Save the images as files; without [mislabels] encoder, pixels are used as they are.",
        )
    return images


def count_unembedded(store: Store | None, encoder: ImageEncoder, table: Table) -> int:
    """Return the number of distinct images of a table without a cached embedding."""
    digests = encoder.hash_images(table)
    if store is None:
        return len(set(digests))
    return len(find_missing_rows(store, encoder.artifact_kind, digests))


@dataclass(frozen=True)
class EmbeddingCost:
    """Cost of embedding an image.

    Attributes:
        seconds: Seconds an image, measured on a few of them.
        width: Number of columns of an embedding.
    """

    seconds: float
    width: int


def measure_embedding(encoder: ImageEncoder, study: Study, table: Table) -> EmbeddingCost:
    """Measure the embedding of a few images of the table."""
    step = max(1, len(table) // SAMPLE)
    sample = table.take(range(0, len(table), step)[:SAMPLE])
    embed, examples = encoder.load(study, sample)
    start = time.perf_counter()
    embeddings = embed_rows(embed, examples, torch.arange(len(sample)))
    return EmbeddingCost((time.perf_counter() - start) / len(sample), embeddings.shape[1])


def _write_embeddings(
    store: Store, encoder: ImageEncoder, study: Study, table: Table, missing: pl.DataFrame
) -> None:
    embed, examples = encoder.load(study, table)
    with progress_stage("images: embedding", len(missing), "images") as track:
        tracked = track(examples)
        for chunk in missing.iter_slices(CHUNK_ROWS):
            embeddings = embed_rows(embed, tracked, torch.tensor(chunk["id"].to_list()))
            write_chunk(store, encoder.artifact_kind, embeddings, chunk, FILE)
