"""Linear opinion pool of several classifiers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.calibration import calibrate_logits
from fastif.mislabels.pseudo_r2 import pseudo_r2


def pool_opinions(
    member_logits: Sequence[Float[Tensor, "n c"]], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Combine classifiers by a linear opinion pool (Stone, 1961), weighted by their pseudo-R².

        log p(t | x) = log Σ_k w_k softmax(a_k · logits_k + b_k)[t],   w_k ∝ pseudo-R²_k

    A mean of probabilities keeps a confident dissent, which a product of experts would drown.
    Weights by maximum likelihood would favour the classifier that reproduces wrong labels best.

    Args:
        member_logits: Out-of-fold logits of each classifier, [n, c].
        labels: Given label of each row, [n].

    Returns:
        Pooled log-probabilities, [n, c].

    Examples:
        >>> z = torch.tensor([[4.0, 0.0], [0.0, 4.0]]).repeat(50, 1)
        >>> y = torch.tensor([0, 1]).repeat(50)
        >>> p = pool_opinions([z, torch.zeros_like(z)], y).exp()
        >>> bool((p.amax(1) > 0.99).all()), bool(torch.allclose(p.sum(1), torch.ones(100)))
        (True, True)
    """
    member_log_probs = [calibrate_logits(logits, labels).log_softmax(1) for logits in member_logits]
    member_scores = torch.tensor([pseudo_r2(log_probs, labels) for log_probs in member_log_probs])
    weights = member_scores if float(member_scores.sum()) > 0 else torch.ones_like(member_scores)
    pool = torch.zeros_like(member_log_probs[0])
    for weight, log_probs in zip(weights / weights.sum(), member_log_probs, strict=True):
        pool += weight * log_probs.exp()
    return pool.clamp_min(1e-30).log()
