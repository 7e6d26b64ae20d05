"""Several classifiers as one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.applications.head import calibrated
from fastif.applications.noise import skill_of


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
    skill = torch.tensor([skill_of(logits, labels) for logits in several])
    weights = skill / skill.sum() if float(skill.sum()) > 0 else torch.ones_like(skill) / len(skill)
    told = torch.zeros_like(several[0])
    for weight, logits in zip(weights, several, strict=True):
        told += weight * calibrated(logits, labels).softmax(1)
    return told.clamp_min(1e-30).log()
