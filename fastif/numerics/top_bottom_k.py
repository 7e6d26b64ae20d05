"""Streaming top-k and bottom-k: most helpful and most harmful training examples of each query."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.device_extremes import DeviceExtremes

MERGE_THRESHOLD = 1024
"""Number of columns buffered before a merge; a sort after every batch would cost too much."""

PREFILTER_FACTOR = 4
"""Ratio of columns to k above which the columns are prefiltered to k at each end."""


class TopBottomK:
    """Streaming top-k and bottom-k: the `k` lowest and the `k` highest scores of each query.

    Memory is 2k columns and the buffered ones, never all n. Equal scores are ordered by id, so the
    result does not depend on the batches or their order. Scores on a device stay there until
    `get_result`, and the host does not wait for them before.

    Args:
        count: Number of queries.
        k: Number of columns at each end; None keeps all.
        attached: Number of further values of each score, such as its standard deviation, that are
            kept with it.

    Examples:
        >>> extremes = TopBottomK(1, k=1)
        >>> for first in (0, 3):
        ...     scores = torch.tensor([[5.0, -1.0, 2.0]]) + first
        ...     extremes.add(torch.arange(first, first + 3), scores)
        >>> extremes.get_result()[:2]
        (tensor([[1, 3]]), tensor([[-1.,  8.]]))
    """

    def __init__(self, count: int, k: int | None, attached: int = 0) -> None:
        self.k = k
        self._columns = 0
        self._on_device: DeviceExtremes | None = None
        self._ids: list[Int[Tensor, "q b"]] = [torch.empty(count, 0, dtype=torch.long)]
        self._scores: list[Float[Tensor, "q b"]] = []
        self._attached: list[list[Float[Tensor, "q b"]]] = [[] for _ in range(attached)]

    def add(
        self,
        ids: Int[Tensor, " b"],
        scores: Float[Tensor, "q b"],
        *attached: Float[Tensor, "q b"],
        valid: Bool[Tensor, " b"] | None = None,
    ) -> None:
        """Add the scores [q b] of b more training examples, and the values attached to them.

        Args:
            ids: Positions of the training examples.
            scores: Scores by which they are ordered.
            attached: Values that are kept with them.
            valid: Mask of the examples that count; all by default.
        """
        if scores.device.type != "cpu":
            self._on_device = self._on_device or DeviceExtremes(
                self.k, MERGE_THRESHOLD, PREFILTER_FACTOR
            )
            self._on_device.add(ids, scores, attached, valid)
            return
        if valid is not None:
            ids, scores = ids[valid], scores[:, valid]
            attached = tuple(values[:, valid] for values in attached)
        extremes = None
        if self.k is not None and len(ids) > PREFILTER_FACTOR * self.k:
            extremes = _select_extremes(scores, self.k)  # wide blocks are reduced before a copy
        self._ids.append(ids.expand(len(scores), -1) if extremes is None else ids[extremes])
        self._scores.append(scores if extremes is None else scores.gather(1, extremes))
        for blocks, values in zip(self._attached, attached, strict=True):
            blocks.append(values if extremes is None else values.gather(1, extremes))
        self._columns += self._ids[-1].shape[1]
        if self.k is not None and self._columns >= max(MERGE_THRESHOLD, 2 * self.k):
            self._merge()

    def get_result(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Ids, scores and attached values of each query, in ascending order of score."""
        if self._on_device is not None:
            ids, scores, *attached = self._on_device.get_columns()
            return ids, scores, attached
        self._merge()
        ids, blocks = self._ids[0], (self._scores, *self._attached)
        scores, *attached = (block[0] if block else torch.empty(ids.shape) for block in blocks)
        return ids, scores, attached

    def _merge(self) -> None:
        self._columns = 0
        if not self._scores:
            return
        ids = torch.cat(self._ids, 1)
        scores = torch.cat(self._scores, 1)
        order = top_bottom_k(ids, scores, self.k)
        self._ids, self._scores = [ids.gather(1, order)], [scores.gather(1, order)]
        self._attached = [[torch.cat(blocks, 1).gather(1, order)] for blocks in self._attached]


def top_bottom_k(
    ids: Int[Tensor, "q k"], scores: Float[Tensor, "q k"], k: int | None = None
) -> Int[Tensor, "q m"]:
    """Columns in ascending order of score, ties by id; only `k` at each end if given."""
    if k is not None and scores.shape[1] > PREFILTER_FACTOR * k:
        extremes = _select_extremes(scores, k)
        if extremes is not None:
            return extremes.gather(
                1, top_bottom_k(ids.gather(1, extremes), scores.gather(1, extremes))
            )
    id_order = ids.argsort(dim=1)
    order = id_order.gather(1, scores.gather(1, id_order).argsort(dim=1, stable=True))
    if k is not None and order.shape[1] > 2 * k:
        order = torch.cat([order[:, :k], order[:, -k:]], dim=1)
    return order


def _select_extremes(scores: Float[Tensor, "q k"], k: int) -> Int[Tensor, "q m"] | None:
    """Select the `k` columns at each end, unordered; None if ties or NaN make them ambiguous."""
    columns = []
    for largest in (False, True):
        extremes, places = scores.topk(k, 1, largest=largest, sorted=True)
        edge = extremes[:, -1:]
        num_within = (scores >= edge if largest else scores <= edge).sum(1)
        if bool((num_within != k).any()):  # fewer if NaN, which equals nothing, is at the edge
            return None
        columns.append(places)
    return torch.cat(columns, 1)
