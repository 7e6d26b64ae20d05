"""Recall curves: share of the most influential rows among k candidates, by k."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

AT = (10, 100)
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Candidates as a share of the training rows."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of the training rows, and the side from which candidates are taken.

    Attributes:
        scores: Scores, [q n] or [n] for all queries.
        both_ends: Whether half of the candidates are top-k and half bottom-k; otherwise all are
            top-k.
    """

    scores: Float[Tensor, "q n"]
    both_ends: bool

    def candidates(self, k: int) -> Int[Tensor, "q k"]:
        """Return the positions of k candidates a query."""
        order = self.scores.argsort(dim=1, descending=True, stable=True)
        high = k - k // 2 if self.both_ends else k
        return torch.cat([order[:, :high], order[:, order.shape[1] - (k - high) :]], 1)


def recall(
    candidates: Int[Tensor, "q k"], exact: Float[Tensor, "q n"], at: int
) -> Float[Tensor, " q"]:
    """Return the share of the `at` largest absolute effects of each query among its candidates.

    >>> recall(torch.tensor([[0, 1]]), torch.tensor([[0.1, -0.9, 0.5]]), 2)
    tensor([0.5000])
    """
    hits = torch.zeros_like(exact).scatter_(1, candidates.expand(len(exact), -1), 1.0)
    return hits.gather(1, exact.abs().topk(at, dim=1).indices).mean(1)


def curve(
    ranking: Ranking, exact: Float[Tensor, "q n"], at: int, shares: Sequence[float] = SHARES
) -> list[dict]:
    """Return the mean recall with its standard error for each number of candidates."""
    points = []
    for share in shares:
        recalls = recall(ranking.candidates(count_of(share, exact.shape[1])), exact, at)
        points.append(mean_and_error(recalls))
    return points


def chance(shares: Sequence[float], rows: int) -> list[dict]:
    """Return the expected recall of randomly sampled candidates."""
    return [{"mean": count_of(share, rows) / rows, "error": 0.0} for share in shares]


def count_of(share: float, rows: int) -> int:
    """Return the number of candidates for a share of the rows."""
    return round(share * rows)


def mean_and_error(values: Float[Tensor, " q"]) -> dict[str, float]:
    """Return the mean and its standard error."""
    values = values.double()
    return {"mean": float(values.mean()), "error": float(values.std() / len(values) ** 0.5)}
