"""Error probabilities of rare labels, by what the frequent labels of the same rows teach."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RARE_SHARE = 0.1
"""Share of the rows with a label, or without it, below which the label is rare."""
BINS = 20
"""Number of quantile bins of the loss."""


def find_frequent_labels(
    given: Int[Tensor, "n c"], searched: Bool[Tensor, " c"]
) -> Bool[Tensor, " c"]:
    """Mask of labels that are not rare; of the most frequent one if all are rare.

    Args:
        given: Given values, 0 or 1.
        searched: Labels to choose from.

    Examples:
        >>> given = torch.tensor([[1, 0], [0, 0], [1, 0]])
        >>> find_frequent_labels(given, torch.tensor([True, True]))
        tensor([ True, False])
    """
    shares = torch.minimum(given.float().mean(0), (1 - given).float().mean(0))
    shares = shares.where(searched, -1.0)
    return (shares >= RARE_SHARE) | (shares == shares.max())


def pool_rare_labels(
    probability: Float[Tensor, "n c"], loss: Float[Tensor, "n c"], given: Int[Tensor, "n c"]
) -> Float[Tensor, "n c"]:
    """Return error probabilities in which those of rare labels follow the frequent labels.

    Few rows do not determine the noise rates of a label: that all rows with it are errors may be
    the most likely answer. A cell of a rare label therefore has the mean probability of the cells
    of frequent labels with the same value and the same out-of-fold loss, by quantile bins and
    monotone in the loss.

    Args:
        probability: Error probability of each row and label; NaN for labels not searched.
        loss: Out-of-fold cross-entropy of the given value of each row and label, in nats.
        given: Given values, 0 or 1.
    """
    searched = ~probability.isnan().any(0)
    if not bool(searched.any()):
        return probability
    frequent = find_frequent_labels(given, searched) & searched
    pooled = probability.clone()
    for value in (0, 1):
        known = (given == value) & frequent
        wanted = (given == value) & searched & ~frequent
        if not bool(known.any()):
            continue
        order = np.argsort(loss[known].numpy(), kind="stable")
        bins = np.array_split(order, min(BINS, len(order)))
        numbers = loss[known].numpy(), probability[known].numpy()
        middles, means = ([float(part[b].mean()) for b in bins] for part in numbers)
        smoothed = np.interp(loss[wanted].numpy(), middles, np.maximum.accumulate(means))
        pooled[wanted] = torch.as_tensor(smoothed, dtype=pooled.dtype)
    return pooled
