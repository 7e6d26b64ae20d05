"""Class quotas: a minimum number of candidates from every training label."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from fastif.candidates.faiss_index import Candidates, Index
from fastif.data.targets import check_class_numbers
from fastif.errors import InputError

ROUNDING = 1e-9
MAX_CELLS = 2**24
"""Largest number of cells of a search result held at once."""


@dataclass(frozen=True, eq=False)
class ClassQuota:
    """Stratified candidates: every training label gets a minimum share of a query's k candidates.

    Each label gets its best share · k examples (rounded down) in the order of the index, or all of
    its examples if it has fewer. The best of all labels fill the other places. The index is
    searched deeper until every label has its number, so the result of an exact index is exact.

    Args:
        labels: Labels [n] of the training examples, from 0.
        share: Share of k for each label, at most 1 / number of labels.

    Raises:
        InputError: The shares of all labels exceed 1, the share is not positive, or the labels are
            not class numbers.

    Examples:
        >>> from fastif import CandidateIndex
        >>> index = CandidateIndex.build(torch.tensor([[0.0], [1.0], [2.0], [9.0]]))
        >>> ClassQuota(torch.tensor([0, 0, 0, 1]), 0.5).search(index, torch.zeros(1, 1), 2).ids
        tensor([[0, 3]])
    """

    labels: Shaped[Tensor, "n *t"]
    share: float

    def __post_init__(self) -> None:
        check_class_numbers(self.labels, "quota")
        count = len(self.labels.unique())
        if not 0 < self.share * count <= 1 + ROUNDING:
            raise InputError(
                "quota",
                f"a share above 0 and up to {1 / count:.3g}, since there are {count} labels",
                f"{self.share:g}",
                "Lower the share, or omit the quota.",
            )

    def compute_minimum(self, k: int) -> Int[Tensor, " c"]:
        """Minimum number of k candidates for each label."""
        return self.labels.bincount().clamp(max=quota_count(self.share, k))

    def search(self, index: Index, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """Return the k nearest vectors of each query, with the minimum number of each label."""
        minimum = self.compute_minimum(k)
        candidates = Candidates(
            torch.full((len(queries), k), -1), torch.full((len(queries), k), torch.inf)
        )
        assert candidates.distances is not None
        for query, ids, distances in self._rank_queries(index, queries, k, minimum):
            mask = _extend_mask(self._mask_first(ids, minimum), k)
            candidates.ids[query, : int(mask.sum())] = ids[mask]
            candidates.distances[query, : int(mask.sum())] = distances[mask]
        return candidates

    def search_top_bottom(self, index: Index, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        """Return the top-k and bottom-k products, half of each label's minimum at either end."""
        minimum = self.compute_minimum(k)
        # A row may already be selected at the other end, so each end is searched for the full k.
        high = {query: ids for query, ids, _ in self._rank_queries(index, queries, k, minimum)}
        low = {query: ids for query, ids, _ in self._rank_queries(index, -queries, k, minimum)}
        selected_ids = torch.full((len(queries), k), -1)
        for query, ids in high.items():
            top_bottom = self._select_top_bottom(ids, low[query], minimum, k)
            selected_ids[query, : len(top_bottom)] = top_bottom
        return Candidates(selected_ids, None)

    def _select_top_bottom(
        self, high: Tensor, low: Tensor, minimum: Tensor, k: int
    ) -> Int[Tensor, " _"]:
        top = self._mask_first(high, minimum - minimum // 2)
        low = low[~torch.isin(low, high[top])]
        bottom = self._mask_first(low, minimum // 2)
        free = ~torch.isin(high, low[bottom])
        top[free] = _extend_mask(top[free], k - k // 2)
        free = ~torch.isin(low, high[top])
        bottom[free] = _extend_mask(bottom[free], k - int(top.sum()))
        return torch.cat([high[top], low[bottom]])

    def _mask_first(self, ids: Int[Tensor, " m"], minimum: Int[Tensor, " c"]) -> Bool[Tensor, " m"]:
        """Mask of the first entries of each label."""
        mask, labels = torch.zeros(len(ids), dtype=torch.bool), self.labels[ids]
        for label, count in enumerate(minimum.tolist()):
            mask[(labels == label).nonzero()[:count, 0]] = True
        return mask

    def _rank_queries(
        self, index: Index, queries: Tensor, size: int, minimum: Tensor
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each query's ranking, deep enough to contain the minimum number of each label."""
        pending = torch.arange(len(queries))
        while len(pending):
            unfinished = []
            for chunk in pending.split(max(1, MAX_CELLS // size)):
                candidates = index.search(queries[chunk], size)
                assert candidates.distances is not None
                rows = zip(chunk.tolist(), candidates.ids, candidates.distances, strict=True)
                for query, ids, distances in rows:
                    filled = ids >= 0
                    counts = self.labels[ids[filled]].bincount(minlength=len(minimum))
                    if size < index.count and bool((counts < minimum).any()):
                        unfinished.append(query)
                    else:
                        yield query, ids[filled], distances[filled]
            pending, size = torch.tensor(unfinished, dtype=torch.long), min(2 * size, index.count)


def quota_count(share: float, k: int) -> int:
    """Number of candidates in a share of k, rounded down.

    Examples:
        >>> quota_count(0.29, 100), quota_count(0.25, 7)
        (29, 1)
    """
    return int(share * k + ROUNDING)


def _extend_mask(mask: Bool[Tensor, " m"], count: int) -> Bool[Tensor, " m"]:
    """Add the first entries outside the mask, until it has `count` entries."""
    additions = (~mask).nonzero()[: max(0, count - int(mask.sum())), 0]
    return mask.index_fill(0, additions, True)
