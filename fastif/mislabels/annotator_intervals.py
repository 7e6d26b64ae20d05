"""Likelihood intervals of the accuracy of annotators."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.dawid_skene import AnnotatorModel, compute_log_joint

DROP_90 = 1.3528
"""Half of the 90 % quantile of χ² with one degree of freedom."""
MAX_SHIFT, SHIFTS = 8.0, 81
"""Largest change of the log-odds of a right label, and number of changes that are tried."""


def compute_accuracy_intervals(
    model: AnnotatorModel,
) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
    """Compute 90 % intervals of each annotator's accuracy by likelihood ratio (Wilks, 1938).

    The log-odds of a right label are shifted by δ in all classes of an annotator,

        logit C_δ[t, t] = logit C[t, t] + δ,

    with the other labels in the same proportions. The interval has the accuracies Σ_t π_t C_δ[t, t]
    of all δ whose log-likelihood, given the annotations of the others,

        Σ_i log Σ_t q_i(t) C_δ[t, label of row i]

    is at most 1.35 below its maximum; q is the posterior without this annotator's own labels. So
    an annotator whose rows nobody else has labelled has a wide interval. It is extended to the
    estimate where the prior has moved that out of it. That the others' confusion matrices are
    estimates too is not included.

    Args:
        model: Fitted confusion matrices.

    Returns:
        Lower and upper bounds, [a] each.
    """
    data = model.annotations
    joint = compute_log_joint(data, data.annotators, model.class_shares, model.confusion)
    own = model.confusion.log().transpose(1, 2)[data.annotators, data.labels]
    others = (joint[data.rows] - own).softmax(1)  # [m, c]
    right = others.gather(1, data.labels[:, None])[:, 0]
    diagonal = model.confusion.diagonal(dim1=1, dim2=2)  # [a, c]
    # Of a wrong label, the share of j among the labels other than t.
    off_share = model.confusion / (1 - diagonal).clamp_min(1e-12)[:, :, None]
    off_share = off_share.transpose(1, 2)[data.annotators, data.labels]  # [m, c]
    off_share = off_share.scatter(1, data.labels[:, None], 0.0)
    shifts = torch.linspace(-MAX_SHIFT, MAX_SHIFT, SHIFTS, dtype=torch.float64)
    accuracies, log_likelihoods = [], []
    for shift in shifts:
        shifted = (diagonal.logit(1e-12) + shift).sigmoid()
        of_label = shifted[data.annotators, data.labels]
        of_others = (others * off_share * (1 - shifted)[data.annotators]).sum(1)
        terms = (right * of_label + of_others).clamp_min(1e-300).log()
        total = torch.zeros(data.annotator_count, dtype=torch.float64)
        log_likelihoods.append(total.index_add_(0, data.annotators, terms))
        accuracies.append(shifted @ model.class_shares)
    low, high = _bound(torch.stack(accuracies), torch.stack(log_likelihoods))
    return low.minimum(model.accuracy), high.maximum(model.accuracy)


def _bound(accuracies: Tensor, log_likelihoods: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest accuracy within the drop, between the shifts by linear interpolation."""
    excess = log_likelihoods - log_likelihoods.amax(0) + DROP_90
    inside = excess >= 0
    lows, highs = [], []
    for k in range(excess.shape[1]):
        ids = inside[:, k].nonzero()[:, 0]
        lows.append(_cross(accuracies[:, k], excess[:, k], int(ids[0]), -1))
        highs.append(_cross(accuracies[:, k], excess[:, k], int(ids[-1]), 1))
    return torch.stack(lows), torch.stack(highs)


def _cross(accuracy: Tensor, excess: Tensor, last: int, step: int) -> Tensor:
    """Accuracy where the excess is 0, between the last shift inside and the next one outside."""
    outside = last + step
    if not 0 <= outside < len(excess):
        return accuracy[last].new_tensor(0.0 if step < 0 else 1.0)
    share = excess[last] / (excess[last] - excess[outside])
    return accuracy[last] + share * (accuracy[outside] - accuracy[last])
