"""Quotas: no training label is left out of a query's candidates."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import Candidates, Index
from fastif.errors import InputError

ROUNDING = 1e-9
CELLS = 2**24
"""Of a search result that are held at once."""


@dataclass(frozen=True, eq=False)
class Quota:
    """The least share of a query's k candidates that each training label gets.

    The best share · k (rounded down) of each label by the method's own order, or all of a label
    that has fewer; the other places go to the best of all labels. An index is searched deeper until
    every label has its number, so that the answer of an exact index is exact.

    Args:
        labels: of the training examples.
        share: of k, at most 1 / number of labels.

    Raises:
        InputError: the shares do not fit together.

    >>> from fastif import CandidateIndex
    >>> index = CandidateIndex.build(torch.tensor([[0.0], [1.0], [2.0], [9.0]]))
    >>> Quota(torch.tensor([0, 0, 0, 1]), 0.5).search(index, torch.zeros(1, 1), 2).ids
    tensor([[0, 3]])
    """

    labels: Int[Tensor, " n"]
    share: float

    def __post_init__(self) -> None:
        count = len(self.labels.unique())
        if not 0 < self.share * count <= 1 + ROUNDING:
            raise InputError(
                "quota",
                f"a share of 0 to {1 / count:.3g}, since there are {count} labels",
                f"{self.share:g}",
                "Lower it, or leave it out.",
            )

    def least(self, k: int) -> Int[Tensor, " c"]:
        """How many of k candidates each label gets in any case."""
        return self.labels.bincount().clamp(max=places(self.share, k))

    def search(self, index: Index, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """As `CandidateIndex.search`, with the quota kept."""
        least = self.least(k)
        found = Candidates(
            torch.full((len(queries), k), -1), torch.full((len(queries), k), torch.inf)
        )
        assert found.distances is not None
        for query, ids, distances in self._rankings(index, queries, k, least):
            chosen = _filled(self._first(ids, least), k)
            found.ids[query, : int(chosen.sum())] = ids[chosen]
            found.distances[query, : int(chosen.sum())] = distances[chosen]
        return found

    def search_ends(self, index: Index, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """As `CandidateIndex.search_ends`, half of each label's number at either end."""
        least = self.least(k)
        # A row may have been taken at the other end already, hence all of them at either.
        high = {query: ids for query, ids, _ in self._rankings(index, queries, k, least)}
        low = {query: ids for query, ids, _ in self._rankings(index, -queries, k, least)}
        found = torch.full((len(queries), k), -1)
        for query, ids in high.items():
            ends = self._ends(ids, low[query], least, k)
            found[query, : len(ends)] = ends
        return Candidates(found, None)

    def _ends(self, high: Tensor, low: Tensor, least: Tensor, k: int) -> Int[Tensor, " _"]:
        top = self._first(high, least - least // 2)
        low = low[~torch.isin(low, high[top])]
        bottom = self._first(low, least // 2)
        free = ~torch.isin(high, low[bottom])
        top[free] = _filled(top[free], k - k // 2)
        free = ~torch.isin(low, high[top])
        bottom[free] = _filled(bottom[free], k - int(top.sum()))
        return torch.cat([high[top], low[bottom]])

    def _first(self, ids: Int[Tensor, " m"], least: Int[Tensor, " c"]) -> Bool[Tensor, " m"]:
        """The first ones of each label."""
        chosen, labels = torch.zeros(len(ids), dtype=torch.bool), self.labels[ids]
        for label, count in enumerate(least.tolist()):
            chosen[(labels == label).nonzero()[:count, 0]] = True
        return chosen

    def _rankings(
        self, index: Index, queries: Tensor, size: int, least: Tensor
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each query's rows, best first, as deep as it takes to hold the least of each label."""
        pending = torch.arange(len(queries))
        while len(pending):
            short = []
            for part in pending.split(max(1, CELLS // size)):
                found = index.search(queries[part], size)
                assert found.distances is not None
                rows = zip(part.tolist(), found.ids, found.distances, strict=True)
                for query, ids, distances in rows:
                    seen = ids >= 0
                    held = self.labels[ids[seen]].bincount(minlength=len(least))
                    if size < index.count and bool((held < least).any()):
                        short.append(query)
                    else:
                        yield query, ids[seen], distances[seen]
            pending, size = torch.tensor(short, dtype=torch.long), min(2 * size, index.count)


def places(share: float, k: int) -> int:
    """Candidates that are a share of k, rounded down.

    >>> places(0.29, 100), places(0.25, 7)
    (29, 1)
    """
    return int(share * k + ROUNDING)


def _filled(chosen: Bool[Tensor, " m"], count: int) -> Bool[Tensor, " m"]:
    """The same with the first others, `count` in all."""
    others = (~chosen).nonzero()[: max(0, count - int(chosen.sum())), 0]
    return chosen.index_fill(0, others, True)
