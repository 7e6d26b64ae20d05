"""Anchor points: the most confident rows of each class, whose labels show the error rate."""

from jaxtyping import Float, Int
from torch import Tensor

ANCHOR_SHARES, MIN_ANCHOR_ROWS = (0.02, 0.05, 0.1, 0.25), 20
"""Anchor points: candidate fractions of the rows predicted as a class, and their minimum number."""


def estimate_anchor_error_rate(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Estimate the error rate from anchor points (Liu and Tao, 2016; Patrini et al., 2017).

    The anchor points of class t are the most confident rows among those predicted as t; the share
    of other labels among them estimates the noise. Of several candidate fractions, the one with the
    fewest other labels is used: the additional errors of a larger one are uncertainty of the
    classifier.

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each row, [n].

    Returns:
        Mean over the classes of the share of other labels, with a pseudo-count of one error.
    """
    log_probs = logits.log_softmax(1)
    predicted, classes = log_probs.argmax(1), logits.shape[1]
    shares, total = [], 0
    for t in range(classes):
        row_ids = (predicted == t).nonzero()[:, 0]
        order = log_probs[row_ids, t].argsort(descending=True, stable=True)
        is_other = labels[row_ids[order]] != t
        sizes = {
            max(min(len(row_ids), MIN_ANCHOR_ROWS), round(share * len(row_ids)))
            for share in ANCHOR_SHARES
        }
        counts = [(int(is_other[:size].sum()), size) for size in sorted(sizes)]
        others, size = min(counts, key=lambda count: (count[0] + 1) / (count[1] + 2))
        shares.append(others / max(1, size))
        total += size
    return sum(shares) / classes + 1 / (total + 2)
