"""Classifiers that copy the given labels, since they were trained on them."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.external_classifier import ExternalClassifier

SUSPICIOUS_AGREEMENT = 0.97
"""Agreement with the given labels from which a classifier may have been trained on them."""
HIGH_AGREEMENT = 0.9
"""Agreement that is suspicious if the out-of-fold classifiers agree less."""
MIN_COPYING, MAX_COPYING = 0.1, 0.99
"""Bounds of the least copying rate of a suspicious classifier."""
HONEST_ROWS = 10.0
"""Pseudo-counts of wrong labels that a classifier does not copy."""


def estimate_excess_agreement(
    classifier: ExternalClassifier, p: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> float:
    """Least copying rate λ of a classifier, by its agreement with the given labels, in-sample.

        λ ≥ (A - A₀) / (1 - A₀)

    A is its agreement with the given labels and A₀ that of out-of-fold classifiers, on its rows. 0
    if A is below 0.9, or if it is at most 0.97 and no larger than A₀: then it is not suspicious.

    Args:
        classifier: The classifier; the direction of a score is unknown, so its rate is 0.
        p: Out-of-fold class probabilities, [n, c].
        labels: Given label of each row, [n].

    Examples:
        >>> import torch
        >>> labels, p = torch.tensor([0, 1]).repeat(50), torch.full((100, 2), 0.5)
        >>> estimate_excess_agreement(ExternalClassifier("copy", predicted=labels), p, labels)
        0.99
    """
    has, predicted = classifier.has_prediction, classifier.predicted_classes
    if predicted is None or not bool(has.any()):
        return 0.0
    agreement, out_of_fold = (
        float((classes == labels)[has].double().mean()) for classes in (predicted, p.argmax(1))
    )
    if agreement <= (HIGH_AGREEMENT if out_of_fold < agreement else SUSPICIOUS_AGREEMENT):
        return 0.0
    excess = (agreement - out_of_fold) / max(1 - out_of_fold, 1e-9)
    return min(MAX_COPYING, max(MIN_COPYING, excess))


def mix_copies(
    log_ratio: Float[Tensor, "n c"], labels: Int[Tensor, " n"], copying: float
) -> Float[Tensor, "n c"]:
    """Log-likelihood ratio of a copier, log [(1 - λ) r(t) + λ r(y)] (Dong et al., 2009), [n, c].

    Args:
        log_ratio: log r(t), if each prediction follows the true class t, [n, c].
        labels: Given label y of each row, [n].
        copying: Copying rate λ.
    """
    if copying == 0:
        return log_ratio
    ratio = log_ratio.exp()
    return ((1 - copying) * ratio + copying * ratio.gather(1, labels[:, None])).log()


def split_copies(
    log_ratio: Float[Tensor, "n c"],
    class_posterior: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    copying: float,
) -> tuple[Float[Tensor, "n c"], float]:
    """Make an EM step of a copier: the class that each prediction follows, and the new rate λ.

    Args:
        log_ratio: log r(t) of its predictions, [n, c].
        class_posterior: Posterior of the rows with a prediction, zero in others, [n, c].
        labels: Given label of each row, [n].
        copying: Copying rate λ; with 0 nothing changes.
    """
    if copying == 0:
        return class_posterior, 0.0
    own_share = (1 - copying) * (log_ratio - mix_copies(log_ratio, labels, copying)).exp()
    own = class_posterior * own_share
    copied = class_posterior - own
    is_wrong = 1 - one_hot(labels, own.shape[1]).to(own)
    rate = (copied * is_wrong).sum() / ((class_posterior * is_wrong).sum() + HONEST_ROWS)
    return own.scatter_add(1, labels[:, None], copied.sum(1, keepdim=True)), float(rate)
