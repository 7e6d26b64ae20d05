"""k nearest neighbours by cosine similarity, and kNN smoothing of logits."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import CandidateIndex

MAX_EXACT_ROWS = 100_000
"""Number of rows up to which the search is exact; beyond, it uses an inverted file index (IVF)."""


def find_neighbours(features: Float[Tensor, "n d"], k: int) -> Int[Tensor, "n k"]:
    """Find the k nearest neighbours of each row by cosine similarity, the row itself excluded.

    Args:
        features: Features of the rows, [n, d].
        k: Number of neighbours; n - 1 if there are fewer other rows.

    Returns:
        Positions of the neighbours, nearest first, [n, k].

    Examples:
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
    # Among duplicates the row itself may be missing from the k + 1 nearest: drop the last one.
    is_self[~is_self.any(1), -1] = True
    return nearest[~is_self].view(n, k).clamp_min(0)


def smooth_logits(
    row_logits: Float[Tensor, "m c"],
    other_logits: Float[Tensor, "n c"],
    neighbour_ids: Int[Tensor, "m k"],
) -> Float[Tensor, "m c"]:
    """Smooth logits by kNN: mean of a row's log-probabilities and the log of the neighbours' mean.

        log p̃_i = ½ log p_i + ½ log(mean over neighbours j of p_j)

    Args:
        row_logits: Logits of m rows, [m, c].
        other_logits: Logits of the n rows among which the neighbours are, [n, c].
        neighbour_ids: Positions of neighbours in `other_logits`, [m, k]; -1 for none.

    Returns:
        Smoothed log-probabilities, not normalized, [m, c]; a row without neighbours keeps its own.
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
