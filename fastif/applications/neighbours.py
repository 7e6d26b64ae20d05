"""The rows most like each row."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index import CandidateIndex

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
