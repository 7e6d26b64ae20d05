"""Several classifiers as one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.calibration import calibrate_logits
from fastif.mislabels.noise_model import pseudo_r2


def pool_opinions(
    member_logits: Sequence[Float[Tensor, "n c"]], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Log Σ_k w_k softmax(calibrated logits_k), w_k in proportion to the skill of each.

    A linear pool (Stone, 1961): each has its say in probabilities, so that one which is sure of
    another class is heard, and no one overrules the others by being surer still. Weights that make
    the given labels likeliest would go to whoever follows these the closest, wrong ones too.

    Args:
        member_logits: logits of several classifiers, none of which has seen the row.
        labels: as given.

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
