"""The rows most like each row."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import CandidateIndex

EXACT = 100_000
"""Rows up to which all pairs are compared; beyond, cells of an inverted file are."""


def neighbours(features: Float[Tensor, "n d"], k: int) -> Int[Tensor, "n k"]:
    """Positions of the k rows of largest cosine with each, itself left out; the nearest first.

    Fewer than k columns where there are fewer other rows.

    >>> neighbours(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1)
    tensor([[1],
            [0],
            [1]])
    """
    n = len(features)
    k = min(k, n - 1)
    unit = features / features.norm(dim=1, keepdim=True).clamp_min(1e-9)
    factory = "Flat" if n <= EXACT else f"IVF{int(4 * math.sqrt(n))},Flat"
    found = CandidateIndex.build(unit, factory).search(unit, k + 1).ids
    own = found == torch.arange(n)[:, None]
    # Of rows that are alike, another may have taken the place of the row itself.
    own[~own.any(1), -1] = True
    return found[~own].view(n, k).clamp_min(0)


def among(
    own: Float[Tensor, "m c"], others: Float[Tensor, "n c"], near: Int[Tensor, "m k"]
) -> Float[Tensor, "m c"]:
    """Mean of a row's log-probabilities and the log of its neighbours' mean probability.

    Args:
        own: logits of rows.
        others: logits of those that their neighbours are among.
        near: positions in `others`; -1 for none.
    """
    p = others.softmax(1)
    around, count = torch.zeros_like(own), own.new_zeros(len(own), 1)
    for column in near.T:  # one neighbour at a time: never n x k x c numbers
        there = (column >= 0)[:, None].to(own)
        around += p[column.clamp_min(0)] * there
        count += there
    told = own.log_softmax(1)
    mean = (around / count.clamp_min(1)).clamp_min(1e-6).log()
    return torch.where(count > 0, (told + mean) / 2, told)
