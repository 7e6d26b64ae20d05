"""Recall: how many of the truly influential training examples the candidates hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.influence import UNSEEN, Influences

AT = (10, 100)
Z = 1.96
"""Of a normal distribution's 95 %."""


@dataclass(frozen=True)
class Recall:
    """Share of a query's `at` most influential examples that are among its candidates.

    Attributes:
        at: examples with the largest effects by size, whatever their sign.
        queries: that were scanned in full to know them.
        share: mean over these queries.
        low, high: 95 % interval of the mean.
    """

    at: int
    queries: int
    share: float
    low: float
    high: float


def recall(
    found: Sequence[Int[Tensor, " _"]], scanned: Influences, at: Sequence[int] = AT
) -> list[Recall]:
    """Compare the candidates of some queries with a full scan of the same queries.

    Args:
        found: positions of the candidates of each query.
        scanned: a full scan that kept the `at` most harmful and as many most helpful rows.
        at: sizes of the sets that are to be found, cut to the number of training examples.
    """
    sizes = dict.fromkeys(min(size, scanned.ids.shape[1]) for size in at)
    return [_recall(found, scanned, size) for size in sizes]


def _recall(found: Sequence[Tensor], scanned: Influences, at: int) -> Recall:
    effects = scanned.removal_effect.masked_fill(scanned.ids == UNSEEN, 0.0)
    order = effects.abs().argsort(dim=1, descending=True, stable=True)[:, :at]
    top = scanned.ids.gather(1, order)
    shares = [
        float(torch.isin(wanted, mine).float().mean())
        for wanted, mine in zip(top, found, strict=True)
    ]
    share = sum(shares) / len(shares)
    return Recall(at, len(shares), share, *wilson(share, len(shares)))


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` draws (Wilson, 1927); never empty, never past 0 or 1.

    Taken with the queries as draws it is wide: as if a query found all of its rows or none.

    >>> [round(bound, 2) for bound in wilson(1.0, 8)]
    [0.68, 1.0]
    """
    middle = share + Z**2 / (2 * count)
    half = Z * (share * (1 - share) / count + Z**2 / (4 * count**2)) ** 0.5
    scale = 1 + Z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
