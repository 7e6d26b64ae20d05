"""FAISS index of candidates: k nearest neighbours, or largest inner products."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.blocked_search import search_nearest
from fastif.candidates.faiss_gpu import MAX_GPU_NEIGHBORS, copy_to_gpu
from fastif.candidates.index_factory import load_faiss, make_index, translate_faiss_errors
from fastif.errors import InputError


@dataclass(frozen=True, eq=False)
class Candidates:
    """Positions of k training examples for each query, with their distances.

    Attributes:
        ids: Positions [q k] in the training set; -1 in a cell that an approximate index left empty.
        distances: Squared L2 distances [q k] or inner products. None for a top-k and
            bottom-k search, and for a union.
    """

    ids: Int[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None

    def __len__(self) -> int:
        return len(self.ids)


class Index(ABC):
    """Index of vectors, searched by L2 distance or by inner product."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of indexed vectors."""

    @abstractmethod
    def search(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """Return the k nearest vectors of each query, nearest first; empty cells are -1.

        Raises:
            InputError: k or the width of the queries does not fit the index.
        """

    @abstractmethod
    def search_top_bottom(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """Return the top-k/2 and bottom-k/2 vectors of each query by inner product.

        A vector selected at either end (k is close to the number of vectors) fills one cell; the
        other cell is -1.

        Raises:
            InputError: k or the width of the queries does not fit the index.
        """


class CandidateIndex(Index):
    """FAISS index of representations or sketches, searched by L2 distance or inner product.

    The factory string "Flat" is an exact search; others (IVF, HNSW, PQ, ...) trade recall for
    speed. FAISS' own file format is written by `save` and read by `load`.

    Queries on a GPU are searched there: by FAISS, where its GPU build is installed and the index
    has a GPU form; else by torch, if the index is "Flat"; else on the CPU.

    Examples:
        >>> index = CandidateIndex.build(torch.eye(3), "Flat")
        >>> index.search(torch.eye(3)[:1], 1)
        Candidates(ids=tensor([[0]]), distances=tensor([[0.]]))
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._gpu_copies: dict[torch.device, Any] = {}

    @property
    def count(self) -> int:
        return self._index.ntotal

    @classmethod
    def build(
        cls, embeddings: Float[Tensor, "n d"], factory: str = "Flat", *, products: bool = False
    ) -> "CandidateIndex":
        """Build an index of vectors; a vector's position is its id.

        Args:
            embeddings: Vectors [n d] to index.
            factory: FAISS factory string of the index, such as "Flat" or "IVF256,Flat".
            products: Whether to search by inner product instead of L2 distance.

        Raises:
            InputError: FAISS cannot make such an index of n vectors of width d.
        """
        index = cls.train_on_sample(embeddings, factory, products=products)
        index.add(embeddings)
        return index

    @classmethod
    def train_on_sample(
        cls, sample: Float[Tensor, "n d"], factory: str, *, products: bool = False
    ) -> "CandidateIndex":
        """Return an empty index with cells and codes trained on a sample of vectors.

        Raises:
            InputError: FAISS cannot make such an index of this many vectors.
        """
        rows = _to_numpy(sample)
        index = make_index(factory, rows.shape[1], len(rows), products=products)
        if not index.is_trained:
            with translate_faiss_errors(factory, rows.shape[1], len(rows)):
                index.train(rows)
        return cls(index)

    def add(self, rows: Float[Tensor, "m d"]) -> None:
        """Add m vectors; their ids continue after the last one.

        Raises:
            InputError: FAISS cannot add this many vectors to such an index.
        """
        with translate_faiss_errors(type(self._index).__name__, rows.shape[1], len(rows)):
            self._index.add(_to_numpy(rows))
        self._gpu_copies.clear()

    def set_probes(self, count: int) -> None:
        """Set the number of cells of an inverted file (IVF) that a search visits; FAISS visits 1.

        Raises:
            InputError: The index has no cells.
        """
        with translate_faiss_errors(type(self._index).__name__, self._index.d, self.count):
            load_faiss().extract_index_ivf(self._index).nprobe = count
        self._gpu_copies.clear()

    @staticmethod
    def check(
        factory: str, width: int, count: int | None = None, *, products: bool = False
    ) -> None:
        """Refuse a factory string that cannot make an index of `count` vectors of this width.

        Raises:
            InputError: FAISS rejects the string, the index is of an unsupported kind, or
                FAISS is not installed correctly.
        """
        make_index(factory, width, count, products=products)

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        width = self._index.d
        if not 1 <= k <= self.count or queries.shape[1] != width:
            raise InputError(
                "candidate search",
                f"k from 1 to {self.count} and queries of width {width}",
                f"k = {k} and width {queries.shape[1]}",
                "Lower k, or build the index from the model of the queries.",
            )
        searched = self._find_gpu_copy(queries.device, k)
        if searched is None and queries.device.type != "cpu" and self._is_flat:
            return Candidates(*self._search_by_torch(_replace_nonfinite(queries), k))
        with translate_faiss_errors(type(self._index).__name__, width, self.count):
            distances, ids = (searched or self._index).search(_to_numpy(queries), k)
        return Candidates(torch.from_numpy(ids), torch.from_numpy(distances))

    @property
    def _is_flat(self) -> bool:
        faiss = load_faiss()
        return type(self._index) in (faiss.IndexFlat, faiss.IndexFlatL2, faiss.IndexFlatIP)

    def _search_by_torch(self, queries: Float[Tensor, "q d"], k: int) -> tuple[Tensor, Tensor]:
        faiss = load_faiss()
        numbers = faiss.rev_swig_ptr(self._index.get_xb(), self.count * self._index.d)
        rows = torch.from_numpy(numbers).view(self.count, self._index.d)
        products = self._index.metric_type == faiss.METRIC_INNER_PRODUCT
        return search_nearest(queries, rows, k, products=products)

    def _find_gpu_copy(self, device: torch.device, k: int) -> Any | None:
        """Return the index on the GPU of the queries, copied once; None if FAISS has none there."""
        if device.type == "cpu" or k > MAX_GPU_NEIGHBORS:
            return None
        if device not in self._gpu_copies:
            self._gpu_copies[device] = copy_to_gpu(self._index, device)
        return self._gpu_copies[device]

    def search_top_bottom(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """Return the top-k/2 and bottom-k/2 vectors by inner product, in two searches.

        Examples:
            >>> rows = torch.tensor([[2.0], [-3.0], [0.1]])
            >>> CandidateIndex.build(rows, products=True).search_top_bottom(torch.ones(1, 1), 2).ids
            tensor([[0, 1]])
        """
        high = self.search(queries, k - k // 2).ids
        return join_ends(high, self.search(-queries, k // 2).ids if k > 1 else high[:, :0])

    def save(self, path: Path) -> None:
        """Write the index in FAISS' file format."""
        load_faiss().write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> "CandidateIndex":
        """Read an index that `save` wrote."""
        return cls(load_faiss().read_index(str(path)))


def join_ends(high: Int[Tensor, "q h"], low: Int[Tensor, "q l"]) -> Candidates:
    """Concatenate top-k and bottom-k ids; -1 replaces the second id of a vector in both."""
    duplicates = (low[:, :, None] == high[:, None]).any(2)
    return Candidates(torch.cat([high, low.masked_fill(duplicates, -1)], 1), None)


def _to_numpy(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(_replace_nonfinite(vectors).cpu().numpy())


def _replace_nonfinite(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Replace NaN and infinity, which FAISS cannot order, by 0, in single precision.

    Their examples have no finite gradient either, so they get no score.
    """
    return vectors.float().nan_to_num(0.0, 0.0, 0.0)
