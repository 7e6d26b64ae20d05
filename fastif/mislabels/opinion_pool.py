"""Several classifiers as one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.linear_head import calibrated
from fastif.mislabels.noise_model import skill


def pooled(
    several: Sequence[Float[Tensor, "n c"]], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Log Σ_k w_k softmax(calibrated logits_k), w_k in proportion to the skill of each.

    A linear pool (Stone, 1961): each has its say in probabilities, so that one which is sure of
    another class is heard, and no one overrules the others by being surer still. Weights that make
    the given labels likeliest would go to whoever follows these the closest, wrong ones too.

    Args:
        several: logits of several classifiers, none of which has seen the row.
        labels: as given.

    >>> z = torch.tensor([[4.0, 0.0], [0.0, 4.0]]).repeat(50, 1)
    >>> y = torch.tensor([0, 1]).repeat(50)
    >>> p = pooled([z, torch.zeros_like(z)], y).exp()
    >>> bool((p.amax(1) > 0.99).all()), bool(torch.allclose(p.sum(1), torch.ones(100)))
    (True, True)
    """
    told = [calibrated(logits, labels).log_softmax(1) for logits in several]
    skills = torch.tensor([skill(each, labels) for each in told])
    weights = skills if float(skills.sum()) > 0 else torch.ones_like(skills)
    pool = torch.zeros_like(told[0])
    for weight, each in zip(weights / weights.sum(), told, strict=True):
        pool += weight * each.exp()
    return pool.clamp_min(1e-30).log()
