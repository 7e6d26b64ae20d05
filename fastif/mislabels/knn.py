"""The rows most like each row."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import CandidateIndex

MAX_EXACT_ROWS = 100_000
"""Rows up to which all pairs are compared; beyond, cells of an inverted file are."""


def find_neighbours(features: Float[Tensor, "n d"], k: int) -> Int[Tensor, "n k"]:
    """Positions of the k rows of largest cosine with each, itself left out; the nearest first.

    Fewer than k columns where there are fewer other rows.

    >>> find_neighbours(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1)
    tensor([[1],
            [0],
            [1]])
    """
    n = len(features)
    k = min(k, n - 1)
    unit = features / features.norm(dim=1, keepdim=True).clamp_min(1e-9)
    factory = "Flat" if n <= MAX_EXACT_ROWS else f"IVF{int(4 * math.sqrt(n))},Flat"
    nearest = CandidateIndex.build(unit, factory).search(unit, k + 1).ids
    is_self = nearest == torch.arange(n)[:, None]
    # Of rows that are alike, another may have taken the place of the row itself.
    is_self[~is_self.any(1), -1] = True
    return nearest[~is_self].view(n, k).clamp_min(0)


def smooth_logits(
    row_logits: Float[Tensor, "m c"],
    other_logits: Float[Tensor, "n c"],
    neighbour_ids: Int[Tensor, "m k"],
) -> Float[Tensor, "m c"]:
    """Mean of a row's log-probabilities and the log of its neighbours' mean probability.

    Args:
        row_logits: logits of rows.
        other_logits: logits of those that their neighbours are among.
        neighbour_ids: positions in `other_logits`; -1 for none.
    """
    p = other_logits.softmax(1)
    neighbour_probability, count = (
        torch.zeros_like(row_logits),
        row_logits.new_zeros(len(row_logits), 1),
    )
    for column in neighbour_ids.T:  # one neighbour at a time: never n x k x c numbers
        present = (column >= 0)[:, None].to(row_logits)
        neighbour_probability += p[column.clamp_min(0)] * present
        count += present
    log_probs = row_logits.log_softmax(1)
    mean = (neighbour_probability / count.clamp_min(1)).clamp_min(1e-6).log()
    return torch.where(count > 0, (log_probs + mean) / 2, log_probs)
