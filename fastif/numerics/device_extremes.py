"""Lowest and highest scores of each query, selected on a device without a read by the host."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.transfer import send

Block = list[Tensor]
"""Sort keys, ids, scores and attached values, each [q b]."""

LEAST, GREATEST = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
ID_BITS = 32
"""Bits of an id in a sort key."""


def make_sort_keys(ids: Int[Tensor, "q b"], scores: Float[Tensor, "q b"]) -> Int[Tensor, "q b"]:
    """Return whole numbers in the order of the scores; NaN comes last.

    The bits of a floating-point number, with the lower ones of negative numbers inverted, are
    ordered as the number. For single precision the id follows in the lower bits, so that equal
    scores are ordered by id and no two keys are equal. Keys of double precision hold the score
    alone.

    Examples:
        >>> make_sort_keys(torch.tensor([[5, 4]]), torch.tensor([[0.0, -0.0]]))
        tensor([[5, 4]])
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    scores = torch.where(scores.isnan(), torch.nan, scores) + 0.0  # one NaN, and one zero
    if scores.dtype == torch.float64:
        bits = scores.view(torch.int64)
        return torch.where(bits < 0, bits ^ GREATEST, bits)
    bits = scores.view(torch.int32).long()
    bits = torch.where(bits < 0, bits ^ (2**31 - 1), bits)
    return bits * 2**ID_BITS + ids


@dataclass
class _End:
    """The k lowest or the k highest columns of each query.

    Attributes:
        k: Number of columns; None keeps all.
        largest: Whether the highest are kept.
        blocks: Columns that were not merged yet; the first block is the result of the last merge.
    """

    k: int | None
    largest: bool
    blocks: list[Block] = field(default_factory=list)

    def reduce(self, block: Block) -> Block:
        """Return the extreme columns of a block, the most extreme one first."""
        order = self._order(*block[:3])
        return [values.gather(1, order) for values in block]

    def merge(self) -> None:
        """Reduce all blocks to one."""
        joined = [torch.cat(values, 1) for values in zip(*self.blocks, strict=True)]
        self.blocks = [self.reduce(joined)]

    def _order(self, keys: Tensor, ids: Tensor, scores: Tensor) -> Int[Tensor, "q m"]:
        count = keys.shape[1] if self.k is None else min(self.k, keys.shape[1])
        if scores.dtype != torch.float64:
            return keys.topk(count, 1, largest=self.largest, sorted=True).indices
        order = ids.argsort(dim=1)
        order = order.gather(1, keys.gather(1, order).argsort(dim=1, stable=True))
        return order.flip(1)[:, :count] if self.largest else order[:, :count]


class DeviceExtremes:
    """Streaming top-k and bottom-k on a device, which the host does not read before the end.

    The result is that of `TopBottomK` for scores on the CPU, with ids from 0 to 2³² - 1.

    Args:
        k: Number of columns at each end; None keeps all.
        threshold: Number of columns buffered before a merge.
        factor: Ratio of columns to k above which a block is reduced before it is buffered.
    """

    def __init__(self, k: int | None, threshold: int, factor: int) -> None:
        self.k, self._threshold, self._factor = k, threshold, factor
        self._ends = [_End(k, False)] + ([] if k is None else [_End(k, True)])
        self._columns, self._count = 0, 0
        self._valid: Tensor | None = None

    def add(
        self,
        ids: Int[Tensor, " b"],
        scores: Float[Tensor, "q b"],
        attached: tuple[Float[Tensor, "q b"], ...],
        valid: Bool[Tensor, " b"] | None,
    ) -> None:
        """Add b columns, of which those that are not valid are left out."""
        row_ids = send(ids, scores.device).expand(len(scores), -1)
        keys = make_sort_keys(row_ids, scores)
        valid = None if valid is None else send(valid, scores.device)
        is_wide = self.k is not None and len(ids) > self._factor * self.k
        for end in self._ends:
            worst = LEAST if end.largest else GREATEST
            own = keys if valid is None else torch.where(valid, keys, worst)
            block = [own, row_ids, scores, *attached]
            end.blocks.append(end.reduce(block) if is_wide else block)
        self._count_valid(len(ids), valid)
        self._columns += self._ends[0].blocks[-1][0].shape[1]
        if self.k is not None and self._columns >= max(self._threshold, 2 * self.k):
            self._merge()

    def get_columns(self) -> Block:
        """Return ids, scores and attached values on the host, in ascending order of score."""
        self._merge()
        count = self._count + (0 if self._valid is None else int(self._valid))
        low = min(count, count if self.k is None else self.k)
        columns = [values[:, :low] for values in self._ends[0].blocks[0][1:]]
        if self.k is not None:
            high = min(self.k, count - low)
            others = self._ends[1].blocks[0][1:]
            columns = [
                torch.cat([values, other[:, :high].flip(1)], 1)
                for values, other in zip(columns, others, strict=True)
            ]
        return [values.cpu() for values in columns]

    def _count_valid(self, count: int, valid: Bool[Tensor, " b"] | None) -> None:
        if valid is None:
            self._count += count
            return
        own = valid.sum()
        self._valid = own if self._valid is None else self._valid + own

    def _merge(self) -> None:
        self._columns = 0
        for end in self._ends:
            end.merge()
