"""INDEX_KINDS: how the index of each kind of candidates is made, found again and read."""

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
    """The index of one kind of candidates, a part of the store that is named by a digest."""

    @abstractmethod
    def measure_width(self, context: RunContext, method: AnyIndexSection, factor_rows: int) -> int:
        """Numbers of a vector, if the curvature has so many root rows."""

    @abstractmethod
    def find_pending(
        self, context: RunContext, method: AnyIndexSection, digest: str
    ) -> PendingIndex:
        """What `write` would do now; nothing is written."""

    @abstractmethod
    def write(self, context: RunContext, method: AnyIndexSection, digest: str) -> None:
        """Index the training rows, unless it is done."""

    @abstractmethod
    def read(
        self,
        store: Store,
        digest: str,
        method: AnyIndexSection,
        objective: fastif.Objective,
        quota: ClassQuota | None,
    ) -> IndexSearch:
        """The search of what was written, for the k of the method."""


class EmbeddingIndex(IndexKind[KnnSection]):
    """The model's own representations in one file of FAISS."""

    def measure_width(self, context: RunContext, method: KnnSection, factor_rows: int) -> int:
        """Of the first query's representation."""
        return context.objective.embed(context.query_texts.take(torch.arange(1))).shape[1]

    def find_pending(self, context: RunContext, method: KnnSection, digest: str) -> PendingIndex:
        """All rows or none."""
        store = context.existing_store
        is_built = store is not None and store.find_artifact("index", digest) is not None
        return PendingIndex(0 if is_built else len(context.train_texts), has_list=is_built)

    def write(self, context: RunContext, method: KnnSection, digest: str) -> None:
        """Take the representation of every training row, unless the file is there."""
        if context.store.find_artifact("index", digest) is not None:
            return
        train = get_train_examples(context)
        with progress_stage("training rows: representations", len(train)) as track:
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
        """The nearest neighbours."""
        index = fastif.CandidateIndex.load(_find_index(store, digest) / EMBEDDINGS)
        return fastif.NearestNeighbors(index, _get_k(method), quota)


class SketchBlocks(IndexKind[SketchSection]):
    """Sketches in blocks, made once for each training row."""

    def measure_width(self, context: RunContext, method: SketchSection, factor_rows: int) -> int:
        """No more than the curvature has directions."""
        return method.count_dimensions(factor_rows)

    def find_pending(self, context: RunContext, method: SketchSection, digest: str) -> PendingIndex:
        """The rows that are new."""
        return find_pending_sketches(context, method, digest)

    def write(self, context: RunContext, method: SketchSection, digest: str) -> None:
        """Sketch the rows that are new, unless the list of all is there."""
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
        """The ends of the scores by sketches."""
        index, sketcher = read_sketches(store, digest, method.factory, objective)
        return fastif.SketchSearch(index, sketcher, _get_k(method), quota, method.rescore)


def _find_index(store: Store, digest: str) -> Path:
    artifact = store.find_artifact("index", digest)
    assert artifact is not None, "the index is prepared before any shard"
    return artifact


def _get_k(method: IndexSection) -> int:
    assert method.k is not None, "k is given or chosen before any shard"
    return method.k


INDEX_KINDS: dict[str, IndexKind[Any]] = {"knn": EmbeddingIndex(), "sketch": SketchBlocks()}
"""`kind` of the section -> its index."""
