"""Multinomial naive Bayes on word and character n-grams, cross-fitted.

It is a member of the linear opinion pool in addition to the linear heads. A discriminative head
fits the given labels by any terms that an annotation rule followed. Naive Bayes cannot, and so its
errors differ where the label noise depends on the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix, vstack
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.labeled_data import LabeledData, TrustedData

PSEUDO_COUNT = 0.1
"""Lidstone smoothing: pseudo-count of every term in each class."""


@dataclass(frozen=True)
class NaiveBayes:
    """Cross-fitted multinomial naive Bayes on tf-idf weights (Rennie et al., 2003).

    Classes have a uniform prior. For a row with term weights x, and N[t, v] the weight of term v in
    the rows of class t in the other folds,

        logit[t] = Σ_v x[v] log((N[t, v] + α) / Σ_u (N[t, u] + α)),   α = 0.1

    Attributes:
        folds: Number of cross-fitting folds.
        repeats: Number of partitions into folds; logits are averaged over these.
        seed: Random seed of the fold assignment.
    """

    folds: int = 5
    repeats: int = 2
    seed: int = 0

    def __call__(
        self, terms: csr_matrix, rows: LabeledData, targets: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n c"]:
        """Return the out-of-fold log-probabilities of every row, [n, c].

        Args:
            terms: Sparse tf-idf weights of the rows, [n, terms].
            rows: Groups and weights of the rows.
            targets: Target distribution over classes of each row, [n, c].
        """
        weights = targets * rows.weights[:, None]
        total = torch.zeros(weights.shape, dtype=torch.float64)
        for repeat in range(self.repeats):
            fold_ids = assign_group_folds(rows.group_ids, self.folds, self.seed + repeat)
            total += _cross_fit(terms, [weights] * self.folds, fold_ids)
        return (total / self.repeats).log_softmax(1).float()

    def cross_fit_with_trusted(
        self,
        terms: tuple[csr_matrix, csr_matrix],
        rows: LabeledData,
        targets: Sequence[Float[Tensor, "n c"]],
        trusted: TrustedData,
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]:
        """Return out-of-fold log-probabilities of rows and trusted rows, each fitted to both.

        Args:
            terms: Sparse tf-idf weights of the rows and of the trusted rows, with the same columns.
            rows: Groups and weights of the rows.
            targets: Target distribution over classes of each row for each fold, [n, c] each.
            trusted: Trusted rows.

        Returns:
            Log-probabilities of the rows [n, c] and of the trusted rows [m, c].
        """
        trusted_one_hot = one_hot(trusted.labels, trusted.classes)
        row_folds = assign_group_folds(rows.group_ids, self.folds, self.seed)
        trusted_folds = trusted.assign_folds(self.folds, self.seed)
        logits = _cross_fit(
            csr_matrix(vstack(terms)),
            [torch.cat([each * rows.weights[:, None], trusted_one_hot]) for each in targets],
            torch.cat([row_folds, trusted_folds]),
        )
        row_logits, trusted_logits = (
            logits.log_softmax(1).float().split([len(rows.labels), len(trusted_one_hot)])
        )
        return row_logits, trusted_logits


def _cross_fit(
    terms: csr_matrix, weights: Sequence[Float[Tensor, "n c"]], fold_ids: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Logits of the rows of each fold from the term weights of the others, by its weights."""
    logits = np.zeros(weights[0].shape)
    for fold in fold_ids.unique().tolist():
        held_out = (fold_ids == fold).numpy()
        class_weights = weights[fold].double().numpy()
        held_out_terms, training_weights = (
            terms[held_out],
            np.where(held_out[:, None], 0.0, class_weights),
        )
        # One class at a time: a matrix of classes by terms would be much larger than the rows.
        for t, weights_of_class in enumerate(training_weights.T):
            logits[held_out, t] = held_out_terms @ _compute_log_rates(terms, weights_of_class)
    return torch.from_numpy(logits)


def _compute_log_rates(terms: csr_matrix, weights: np.ndarray) -> np.ndarray:
    counts = terms.T @ weights + PSEUDO_COUNT
    return np.log(counts / counts.sum())
