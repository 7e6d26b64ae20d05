"""INDEX_KINDS: how the candidate index of each kind is built, found and read."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

import fastif
from fastif.candidates import ClassQuota, IndexSearch
from storage import Store
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_train_examples
from tasks.run.sketches import (
    find_pending_sketches,
    has_sketches,
    read_sketches,
    write_sketches,
)
from tasks.runtime.progress import progress_stage
from tasks.study.candidate_section import IndexSection
from tasks.study.index_cost import PendingIndex
from tasks.study.index_sections import KnnSection, SketchSection

AnyIndexSection = TypeVar("AnyIndexSection", bound=IndexSection)
EMBEDDINGS = "index.faiss"


class IndexKind(ABC, Generic[AnyIndexSection]):
    """Candidate index of one kind, an artifact of the store."""

    @abstractmethod
    def measure_width(self, context: RunContext, method: AnyIndexSection, factor_rows: int) -> int:
        """Return the length of an index vector, given the number of factor rows."""

    @abstractmethod
    def find_pending(
        self, context: RunContext, method: AnyIndexSection, digest: str
    ) -> PendingIndex:
        """Return what `write` would compute now, without writing."""

    @abstractmethod
    def write(self, context: RunContext, method: AnyIndexSection, digest: str) -> None:
        """Build the index of the training rows unless it is in the store."""

    @abstractmethod
    def read(
        self,
        store: Store,
        digest: str,
        method: AnyIndexSection,
        objective: fastif.Objective,
        quota: ClassQuota | None,
    ) -> IndexSearch:
        """Return the search of the index with the k of the method."""


class EmbeddingIndex(IndexKind[KnnSection]):
    """FAISS index of the model's representations of the training rows."""

    def measure_width(self, context: RunContext, method: KnnSection, factor_rows: int) -> int:
        """Return the length of the first query's representation."""
        return context.objective.embed(context.query_examples.take(torch.arange(1))).shape[1]

    def find_pending(self, context: RunContext, method: KnnSection, digest: str) -> PendingIndex:
        """Return all rows, or none if the index is in the store."""
        store = context.existing_store
        is_built = store is not None and store.find_artifact("index", digest) is not None
        return PendingIndex(0 if is_built else len(context.train_examples), has_list=is_built)

    def write(self, context: RunContext, method: KnnSection, digest: str) -> None:
        """Embed every training row and build the FAISS index, unless it is in the store."""
        if context.store.find_artifact("index", digest) is not None:
            return
        train = get_train_examples(context)
        with progress_stage("training rows: embeddings", len(train)) as track:
            embeddings = fastif.compute_embeddings(
                context.objective, track(train), fastif.all_ids(train)
            )
        index = fastif.CandidateIndex.build(embeddings, method.factory)
        context.store.write_artifact(
            "index", digest, lambda folder: index.save(folder / EMBEDDINGS)
        )

    def read(
        self,
        store: Store,
        digest: str,
        method: KnnSection,
        objective: fastif.Objective,
        quota: ClassQuota | None,
    ) -> IndexSearch:
        """Return the k-nearest-neighbour search of the index."""
        index = fastif.CandidateIndex.load(_find_index(store, digest) / EMBEDDINGS)
        return fastif.NearestNeighbors(index, _get_k(method), quota)


class SketchBlocks(IndexKind[SketchSection]):
    """Gradient sketches of the training rows in blocks, computed once for each row."""

    def measure_width(self, context: RunContext, method: SketchSection, factor_rows: int) -> int:
        """Return the sketch dimension, at most the rank of the curvature."""
        return method.count_dimensions(factor_rows)

    def find_pending(self, context: RunContext, method: SketchSection, digest: str) -> PendingIndex:
        """Return the number of rows without a sketch."""
        return find_pending_sketches(context, method, digest)

    def write(self, context: RunContext, method: SketchSection, digest: str) -> None:
        """Sketch the rows without a sketch, unless the list of all rows is in the store."""
        if not has_sketches(context.store, digest):
            write_sketches(context, method, digest)

    def read(
        self,
        store: Store,
        digest: str,
        method: SketchSection,
        objective: fastif.Objective,
        quota: ClassQuota | None,
    ) -> IndexSearch:
        """Return the search for the top-k and bottom-k inner products of sketches."""
        index, sketcher = read_sketches(store, digest, method.factory, objective)
        return fastif.SketchSearch(index, sketcher, _get_k(method), quota, method.rescore)


def _find_index(store: Store, digest: str) -> Path:
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is built before the first shard"
    return artifact


def _get_k(method: IndexSection) -> int:
    assert method.k is not None, "k is set or selected before the first shard"
    return method.k


INDEX_KINDS: dict[str, IndexKind[Any]] = {"knn": EmbeddingIndex(), "sketch": SketchBlocks()}
"""Index by `kind` of the `[candidates]` section."""
