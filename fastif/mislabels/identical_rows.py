"""Given labels of identical rows as several annotations of one true class."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData
from fastif.mislabels.noise_model import compute_posterior

MIN_RATE = 1e-6
"""Least p(given label | true class) of the evidence, so that no label excludes a class."""


def mask_contradicted(rows: LabeledData) -> Bool[Tensor, " n"]:
    """Mask of the unreviewed rows whose content occurs with another given label, [n].

    Reviewed rows are settled: their annotation is also that of the identical rows.
    """
    if rows.contents is None:
        return torch.zeros_like(rows.labels, dtype=torch.bool)
    counts, content = _count_labels(rows)
    return ((counts > 0).sum(1) > 1)[content] & _mask_unreviewed(rows)


def spread_reviews(known: Int[Tensor, " n"], contents: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Right class of each row, where reviewed rows decide the unreviewed ones that are identical.

    Args:
        known: Right class of each reviewed row, `NO_LABEL_FITS` or `NOT_REVIEWED`, [n].
        contents: Content of each row, [n].

    Returns:
        The same with further rows; none where the reviews of identical rows differ, [n].

    Examples:
        >>> known = torch.tensor([1, NOT_REVIEWED, NOT_REVIEWED])
        >>> spread_reviews(known, torch.tensor([0, 0, 1])).tolist()
        [1, 1, -1]
    """
    _, content = contents.unique(return_inverse=True)
    reviewed = known != NOT_REVIEWED
    groups = int(content.max()) + 1
    low = torch.full((groups,), torch.iinfo(known.dtype).max, dtype=known.dtype)
    high = torch.full((groups,), torch.iinfo(known.dtype).min, dtype=known.dtype)
    low.scatter_reduce_(0, content[reviewed], known[reviewed], "amin")
    high.scatter_reduce_(0, content[reviewed], known[reviewed], "amax")
    is_decided = (low == high)[content] & ~reviewed
    return torch.where(is_decided, low[content], known)


def pool_identical_labels(
    class_posterior: Float[Tensor, "n c"], rows: LabeledData, transition: Float[Tensor, "c c"]
) -> Float[Tensor, "n c"]:
    """Pool the given labels of identical rows (Dawid and Skene, 1979), where they contradict.

    Identical rows have the same true class, of which their labels are several annotations:

        posterior_i(t) ∝ before_i(t) · Π_y T[t, y]^w_y / T[t, y_i]
        w_y = (number of distinct labels) · (share of label y)

    The labels of a pair count 1 each. The weights of a larger group add up to its number of
    distinct labels and not of rows, since equal labels may be copies of one annotation. Rows whose
    content has a single label stay as they are for the same reason.

    Args:
        class_posterior: p(true class | features, given label y_i) or p(t | x), [n, c].
        rows: Labelled data; `contents` tells which rows are identical.
        transition: Noise transition matrix T, [c, c].

    Returns:
        Probabilities of the classes, [n, c].

    Examples:
        >>> contents = torch.tensor([0, 0, 1])
        >>> rows = LabeledData(torch.eye(3), torch.tensor([0, 1, 1]), 2, contents=contents)
        >>> transition = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        >>> p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]])
        >>> pool_identical_labels(compute_posterior(p, rows.labels, transition), rows, transition)
        tensor([[0.8000, 0.2000],
                [0.8000, 0.2000],
                [0.1000, 0.9000]])
    """
    contradicted = mask_contradicted(rows)
    if not bool(contradicted.any()):
        return class_posterior
    counts, content = _count_labels(rows)
    distinct = (counts > 0).sum(1, keepdim=True)
    weights = counts * distinct / counts.sum(1, keepdim=True).clamp_min(1)
    log_rates = transition.clamp_min(MIN_RATE).log().to(class_posterior)
    evidence = (weights.to(log_rates) @ log_rates.T)[content] - log_rates[:, rows.labels].T
    pooled = (class_posterior.clamp_min(1e-30).log() + evidence).softmax(1)
    return torch.where(contradicted[:, None], pooled, class_posterior)


def compute_pooled_posterior(
    p: Float[Tensor, "n c"], rows: LabeledData, transition: Float[Tensor, "c c"]
) -> Float[Tensor, "n c"]:
    """Compute the posterior by Bayes' rule, with the labels of identical rows pooled.

    Args:
        p: Class probabilities p(t | x), [n, c].
        rows: Labelled data.
        transition: Noise transition matrix T, [c, c].
    """
    own_label = compute_posterior(p, rows.labels, transition)
    return pool_identical_labels(own_label, rows, transition)


def _count_labels(rows: LabeledData) -> tuple[Float[Tensor, "g c"], Int[Tensor, " n"]]:
    """Number of unreviewed rows by content and given label, and the content of each row."""
    assert rows.contents is not None
    _, content = rows.contents.unique(return_inverse=True)
    given = one_hot(rows.labels, rows.classes).double() * _mask_unreviewed(rows)[:, None]
    counts = torch.zeros(int(content.max()) + 1, rows.classes, dtype=given.dtype)
    return counts.index_add_(0, content, given), content


def _mask_unreviewed(rows: LabeledData) -> Bool[Tensor, " n"]:
    if rows.known is None:
        return torch.ones_like(rows.labels, dtype=torch.bool)
    return rows.known == NOT_REVIEWED
