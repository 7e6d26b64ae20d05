"""Consensus of several annotators by the model of Dawid and Skene, fitted by EM."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.annotated_rows import AnnotatedRows

SHARE_PRIOR = 1.0
"""Pseudo-counts of each class."""
DIAGONAL_PRIOR, UNIFORM_PRIOR = 2.0, 0.1
"""Pseudo-counts of a row of the confusion matrix that all annotators share."""
ANNOTATOR_PRIOR = 4.0
"""Pseudo-annotations of each class that draw an annotator to the shared confusion matrix."""
MAX_STEPS, TOLERANCE = 500, 1e-10
"""Maximum number of EM iterations; least change of a posterior probability."""


@dataclass(frozen=True, eq=False)
class AnnotatorModel:
    """Confusion matrices of annotators, and the posterior of the true classes.

    Attributes:
        annotations: The annotations.
        posterior: Posterior of the true class of each row, [n, c].
        class_shares: Class shares π, [c].
        confusion: C_a[t, j] = p(annotator a gives label j | true class t), [a, c, c].
        shared_confusion: Confusion matrix of an annotator without annotations, [c, c].
    """

    annotations: AnnotatedRows
    posterior: Float[Tensor, "n c"]
    class_shares: Float[Tensor, " c"]
    confusion: Float[Tensor, "a c c"]
    shared_confusion: Float[Tensor, "c c"]

    @property
    def consensus(self) -> Int[Tensor, " n"]:
        """Most probable class of each row, the first of equal ones, [n]."""
        return self.posterior.argmax(1)

    @property
    def error_probability(self) -> Float[Tensor, " n"]:
        """Probability that the consensus is wrong, [n]."""
        return 1 - self.posterior.amax(1)

    @property
    def accuracy(self) -> Float[Tensor, " a"]:
        """Estimated share of right labels by each annotator, Σ_t π_t C_a[t, t], [a]."""
        return self.confusion.diagonal(dim1=1, dim2=2) @ self.class_shares

    @property
    def gain(self) -> Float[Tensor, " n"]:
        """Expected decrease of `error_probability` by one more annotation of each row, [n].

            Σ_j max_t q(t) C[t, j] - max_t q(t)

        with the posterior q and an annotator of the shared confusion matrix C (value of
        information, Howard, 1966). 0 where no single further label would change the consensus.
        """
        joint = self.posterior[:, :, None] * self.shared_confusion
        return (joint.amax(1).sum(1) - self.posterior.amax(1)).clamp_min(0)

    @property
    def review_order(self) -> Int[Tensor, " n"]:
        """Rows by the `gain` of one more annotation, then by `error_probability`, [n]."""
        by_error = self.error_probability.argsort(descending=True, stable=True)
        gain = self.gain[by_error].mul(1e9).round()
        return by_error[gain.argsort(descending=True, stable=True)]


def fit_annotator_model(annotations: AnnotatedRows) -> AnnotatorModel:
    """Fit confusion matrices of annotators and a consensus by EM (Dawid and Skene, 1979).

        E step:  q_i(t) ∝ π_t Π_{a, j} C_a[t, j]^[annotator a labels row i as j]
        M step:  π_t ∝ Σ_i q_i(t) + 1,  C_a[t, j] ∝ Σ_i q_i(t) [a labels i as j] + prior_a[t, j]

    Two fits: first with one confusion matrix that all annotators share, from majority votes; then
    with one for each, whose prior are four pseudo-annotations of each class by the shared matrix.
    So an annotator with few rows is like the others, and one who gives a single class has no
    undefined rows. With `AnnotatedRows.prior`, the class probabilities of each row take the place
    of π, so that a classifier is used as in CROWDLAB (Goh et al., 2022), but as a prior.

    Args:
        annotations: Labels of rows by annotators.

    Examples:
        >>> import torch
        >>> rows, annotators = torch.arange(9) // 3, torch.arange(9) % 3
        >>> labels = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1])  # the third annotator errs
        >>> model = fit_annotator_model(AnnotatedRows(rows, annotators, labels, 3, 3, 2))
        >>> model.consensus.tolist(), int(model.accuracy.argmin())
        ([0, 1, 0], 2)
    """
    prior = DIAGONAL_PRIOR * torch.eye(annotations.classes).double() + UNIFORM_PRIOR
    votes = count_votes(annotations) + 1 / annotations.classes
    posterior = votes / votes.sum(1, keepdim=True)
    if annotations.prior is not None:
        posterior = annotations.prior.double()
        posterior = posterior / posterior.sum(1, keepdim=True)
    everyone = torch.zeros_like(annotations.annotators)
    posterior, _, shared = _run_em(annotations, everyone, posterior, prior[None])
    priors = (ANNOTATOR_PRIOR * shared).expand(annotations.annotator_count, -1, -1)
    posterior, shares, confusion = _run_em(annotations, annotations.annotators, posterior, priors)
    return AnnotatorModel(annotations, posterior, shares, confusion, shared[0])


def compute_log_joint(
    annotations: AnnotatedRows,
    annotators: Int[Tensor, " m"],
    class_shares: Float[Tensor, " c"],
    confusion: Float[Tensor, "a c c"],
) -> Float[Tensor, "n c"]:
    """Log of p(t) Π C_a[t, j] over the annotations of each row, [n, c].

    Args:
        annotations: Labels of rows by annotators.
        annotators: Confusion matrix of each annotation, [m].
        class_shares: Class shares π, used without `AnnotatedRows.prior`, [c].
        confusion: Confusion matrices, [a, c, c].
    """
    prior = annotations.prior
    start = class_shares.expand(annotations.row_count, -1) if prior is None else prior.double()
    log_confusion = confusion.log().transpose(1, 2)[annotators, annotations.labels]
    return start.clamp_min(1e-30).log().index_add(0, annotations.rows, log_confusion)


def count_votes(annotations: AnnotatedRows) -> Float[Tensor, "n c"]:
    """Number of annotations of each row by label, [n, c]."""
    cells = annotations.rows * annotations.classes + annotations.labels
    counts = cells.bincount(minlength=annotations.row_count * annotations.classes)
    return counts.reshape(annotations.row_count, annotations.classes).double()


def _run_em(
    annotations: AnnotatedRows,
    annotators: Int[Tensor, " m"],
    posterior: Float[Tensor, "n c"],
    prior: Float[Tensor, "a c c"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run EM from a posterior to its fixed point; return posterior, class shares, confusion."""
    is_annotated = annotations.annotations_per_row > 0
    classes = annotations.classes
    cells = annotators * classes + annotations.labels
    shares = posterior.mean(0)
    confusion = prior
    for _ in range(MAX_STEPS):
        counts = torch.zeros(len(prior) * classes, classes, dtype=torch.float64)
        counts.index_add_(0, cells, posterior[annotations.rows])  # [(a, j), t]
        confusion = counts.reshape(len(prior), classes, classes).transpose(1, 2) + prior
        confusion = confusion / confusion.sum(2, keepdim=True)
        shares = posterior[is_annotated].sum(0) + SHARE_PRIOR
        shares = shares / shares.sum()
        updated = compute_log_joint(annotations, annotators, shares, confusion).softmax(1)
        change = float((updated - posterior).abs().max())
        posterior = updated
        if change < TOLERANCE:
            break
    return posterior, shares, confusion
