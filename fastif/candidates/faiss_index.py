"""Candidates: the few training examples worth scoring for each query."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index_factory import load_faiss, make_index, translate_faiss_errors
from fastif.errors import InputError


@dataclass(frozen=True, eq=False)
class Candidates:
    """For each query the positions of k training examples; squared distances, if they are such.

    A cell that an approximate index left empty is -1.
    """

    ids: Int[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None

    def __len__(self) -> int:
        return len(self.ids)


class Index(ABC):
    """Rows that can be searched for those nearest to a query, or of the largest inner products."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of rows."""

    @abstractmethod
    def search(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """The k nearest rows of each query, nearest first; an approximate index may return -1.

        Raises:
            InputError: k or the width of the queries does not fit the index.
        """

    @abstractmethod
    def search_top_bottom(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """The k rows of each query that lie at the ends of its inner products, half at either.

        A row that is found at both ends (k is about all there are) takes one cell; the other is -1.

        Raises:
            InputError: see `search`.
        """


class CandidateIndex(Index):
    """Nearest neighbours in a representation, or largest inner products, by FAISS.

    "Flat" is exact; any other factory string (IVF, HNSW, PQ ...) trades recall for speed.

    >>> index = CandidateIndex.build(torch.eye(3), "Flat")
    >>> index.search(torch.eye(3)[:1], 1)
    Candidates(ids=tensor([[0]]), distances=tensor([[0.]]))
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._searched: Any = None

    @property
    def count(self) -> int:
        return self._index.ntotal

    @classmethod
    def build(
        cls, embeddings: Float[Tensor, "n d"], factory: str = "Flat", *, products: bool = False
    ) -> "CandidateIndex":
        """Index the rows; their positions are the ids.

        Args:
            embeddings: the rows.
            factory: FAISS' name of a kind of index.
            products: search by inner product and not by distance.

        Raises:
            InputError: FAISS cannot make such an index of so many rows.
        """
        index = cls.train_on_sample(embeddings, factory, products=products)
        index.add(embeddings)
        return index

    @classmethod
    def train_on_sample(
        cls, sample: Float[Tensor, "n d"], factory: str, *, products: bool = False
    ) -> "CandidateIndex":
        """An index without rows that has learned its cells from a sample of them.

        Raises:
            InputError: FAISS cannot make such an index of so many rows.
        """
        rows = _to_numpy(sample)
        index = make_index(factory, rows.shape[1], len(rows), products=products)
        if not index.is_trained:
            with translate_faiss_errors(factory, rows.shape[1], len(rows)):
                index.train(rows)
        return cls(index)

    def add(self, rows: Float[Tensor, "m d"]) -> None:
        """Add rows; their ids go on from those that are there.

        Raises:
            InputError: FAISS cannot add so few rows to such an index.
        """
        with translate_faiss_errors(type(self._index).__name__, rows.shape[1], len(rows)):
            self._index.add(_to_numpy(rows))
        self._searched = None

    @staticmethod
    def check(
        factory: str, width: int, count: int | None = None, *, products: bool = False
    ) -> None:
        """Refuse a factory string that makes no index of so many rows of this width.

        Raises:
            InputError: FAISS does not understand it, its index is of another kind than is needed,
                or it is not installed as it should be.
        """
        make_index(factory, width, count, products=products)

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        width = self._index.d
        if not 1 <= k <= self.count or queries.shape[1] != width:
            raise InputError(
                "candidate search",
                f"k from 1 to {self.count} and queries of width {width}",
                f"k = {k} and width {queries.shape[1]}",
                "Lower k, or build the index from the same model.",
            )
        rows = _to_numpy(queries)
        if self._searched is None:
            self._searched = copy_to_gpus(self._index)
        with translate_faiss_errors(type(self._index).__name__, width, self.count):
            distances, ids = self._searched.search(rows, k)
        return Candidates(torch.from_numpy(ids), torch.from_numpy(distances))

    def search_top_bottom(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """The same by two searches.

        >>> rows = torch.tensor([[2.0], [-3.0], [0.1]])
        >>> CandidateIndex.build(rows, products=True).search_top_bottom(torch.ones(1, 1), 2).ids
        tensor([[0, 1]])
        """
        high = self.search(queries, k - k // 2).ids
        return join_ends(high, self.search(-queries, k // 2).ids if k > 1 else high[:, :0])

    def save(self, path: Path) -> None:
        """Write the index in FAISS' own format."""
        load_faiss().write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> "CandidateIndex":
        """Read what `save` wrote."""
        return cls(load_faiss().read_index(str(path)))


def join_ends(high: Int[Tensor, "q h"], low: Int[Tensor, "q l"]) -> Candidates:
    """Both ends of each query's products, the highest first; a row of both stands once, then -1."""
    duplicates = (low[:, :, None] == high[:, None]).any(2)
    return Candidates(torch.cat([high, low.masked_fill(duplicates, -1)], 1), None)


def copy_to_gpus(index: Any) -> Any:
    """The index copied to all GPUs that FAISS sees; itself if there are none or it cannot be there.

    FAISS' CPU build sees none; of graphs such as HNSW there is no form for a GPU.
    """
    faiss = load_faiss()
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return index


def _to_numpy(vectors: Tensor) -> np.ndarray:
    """The rows as FAISS wants them; NaN and infinity, which it cannot order, become 0.

    The examples they belong to have no finite gradient either, and so get no score.
    """
    finite = vectors.float().nan_to_num(0.0, 0.0, 0.0)
    return np.ascontiguousarray(finite.cpu().numpy())
