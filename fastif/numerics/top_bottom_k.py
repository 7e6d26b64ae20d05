"""The most harmful and most helpful training examples of each query, of tiles that pass by."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENDING = 1024
"""Columns that wait for a merge: sorting after every tile would cost more than its scores."""

FEW = 4
"""Times as many columns as are kept at an end, from which on the others are first left out."""


class Ends:
    """The `keep` lowest and the `keep` highest scores of each query, among all that were added.

    Held are 2·keep columns and those that wait, never all n. Equal scores are ordered by id, so
    what is kept does not depend on tiles or their order.

    Args:
        count: queries.
        keep: columns at each end; None keeps all.
        spread: whether scores come with a spread.

    >>> ends = Ends(1, keep=1)
    >>> for first in (0, 3):
    ...     ends.add(torch.arange(first, first + 3), torch.tensor([[5.0, -1.0, 2.0]]) + first)
    >>> ends.found()[:2]
    (tensor([[1, 3]]), tensor([[-1.,  8.]]))
    """

    def __init__(self, count: int, keep: int | None, spread: bool = False) -> None:
        self.keep = keep
        self._columns = 0
        self._ids: list[Int[Tensor, "q b"]] = [torch.empty(count, 0, dtype=torch.long)]
        self._scores: list[Float[Tensor, "q b"]] = []
        self._spreads: list[Float[Tensor, "q b"]] | None = [] if spread else None

    def add(
        self,
        ids: Int[Tensor, " b"],
        scores: Float[Tensor, "q b"],
        spread: Float[Tensor, "q b"] | None = None,
    ) -> None:
        """Consider the scores of b more training examples."""
        few = None
        if self.keep is not None and len(ids) > FEW * self.keep:
            few = _extreme(scores, self.keep)  # before it is copied to be merged: it may be wide
        ids = ids.to(scores.device)
        self._ids.append(ids.expand(len(scores), -1) if few is None else ids[few])
        self._scores.append(scores if few is None else scores.gather(1, few))
        if self._spreads is not None and spread is not None:
            self._spreads.append(spread if few is None else spread.gather(1, few))
        self._columns += self._ids[-1].shape[1]
        if self.keep is not None and self._columns >= max(PENDING, 2 * self.keep):
            self._merge()

    def found(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids, scores and spreads, the most harmful first."""
        self._merge()
        spread = self._spreads[0].cpu() if self._spreads else None
        scores = self._scores[0] if self._scores else torch.empty(self._ids[0].shape)
        return self._ids[0].cpu(), scores.cpu(), spread

    def _merge(self) -> None:
        self._columns = 0
        if not self._scores:
            return
        device = self._scores[0].device
        ids = torch.cat([part.to(device) for part in self._ids], 1)
        scores = torch.cat(self._scores, 1)
        order = ends_of(ids, scores, self.keep)
        self._ids, self._scores = [ids.gather(1, order)], [scores.gather(1, order)]
        if self._spreads:
            self._spreads = [torch.cat(self._spreads, 1).gather(1, order)]


def ends_of(
    ids: Int[Tensor, "q k"], scores: Float[Tensor, "q k"], keep: int | None = None
) -> Int[Tensor, "q m"]:
    """Columns in ascending order of score, of equal scores by id; only `keep` at each end."""
    if keep is not None and scores.shape[1] > FEW * keep:
        few = _extreme(scores, keep)
        if few is not None:
            return few.gather(1, ends_of(ids.gather(1, few), scores.gather(1, few)))
    by_id = ids.argsort(dim=1)
    order = by_id.gather(1, scores.gather(1, by_id).argsort(dim=1, stable=True))
    if keep is not None and order.shape[1] > 2 * keep:
        order = torch.cat([order[:, :keep], order[:, -keep:]], dim=1)
    return order


def _extreme(scores: Float[Tensor, "q k"], keep: int) -> Int[Tensor, "q m"] | None:
    """The `keep` columns at each end, in no order; None if ties leave it open which these are."""
    columns = []
    for largest in (False, True):
        last, places = scores.topk(keep, 1, largest=largest, sorted=True)
        edge = last[:, -1:]
        reach = (scores >= edge if largest else scores <= edge).sum(1)
        if bool((reach > keep).any()):
            return None
        columns.append(places)
    return torch.cat(columns, 1)
