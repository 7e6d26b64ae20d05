"""Naive Bayes on what texts are made of: a judge that errs in other ways than a linear head.

It counts what the texts of each class are made of, and thinks the classes equally frequent. A head
is fitted until it tells the given labels as well as it can, by whatever words made annotators or
rules give them; counting cannot do that, and where labels follow the text it is the less deceived.
"""

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
"""Weight of every term that is counted in each class in advance."""


@dataclass(frozen=True)
class NaiveBayes:
    """Cross-fitted logits of a multinomial model of terms (Rennie and others, 2003, on tf-idf).

    Of a row with term weights x, and N[t, v] the weight of term v in the rows of class t that it
    is judged by,

        logit[t] = Σ_v x[v] log((N[t, v] + α) / Σ_u (N[t, u] + α))

    Attributes:
        folds: a row is judged by the counts of the other folds.
        repeats: partitions into folds that are averaged.
        seed: of the folds.
    """

    folds: int = 5
    repeats: int = 2
    seed: int = 0

    def __call__(
        self, terms: csr_matrix, rows: LabeledData, targets: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n c"]:
        """Log-probabilities of every row's class by the other folds' targets.

        Args:
            terms: of the rows.
            rows: to be judged.
            targets: a distribution over classes for each.
        """
        weights = targets * rows.weights[:, None]
        total = torch.zeros(weights.shape, dtype=torch.float64)
        for repeat in range(self.repeats):
            fold_ids = assign_group_folds(rows.group_ids, self.folds, self.seed + repeat)
            total += _cross_fit(terms, weights, fold_ids)
        return (total / self.repeats).log_softmax(1).float()

    def cross_fit_with_trusted(
        self,
        terms: tuple[csr_matrix, csr_matrix],
        rows: LabeledData,
        targets: Float[Tensor, "n c"],
        trusted: TrustedData,
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]:
        """The same of rows and of trusted ones, by both in the first partition of each.

        Args:
            terms: of rows and of trusted ones, made together.
            rows: to be judged.
            targets: a distribution over classes for each.
            trusted: rows of certain label.
        """
        trusted_one_hot = one_hot(trusted.labels, trusted.classes)
        row_folds = assign_group_folds(rows.group_ids, self.folds, self.seed)
        trusted_folds = assign_group_folds(
            torch.arange(len(trusted_one_hot)), self.folds, self.seed
        )
        logits = _cross_fit(
            csr_matrix(vstack(terms)),
            torch.cat([targets * rows.weights[:, None], trusted_one_hot]),
            torch.cat([row_folds, trusted_folds]),
        )
        row_logits, trusted_logits = (
            logits.log_softmax(1).float().split([len(targets), len(trusted_one_hot)])
        )
        return row_logits, trusted_logits


def _cross_fit(
    terms: csr_matrix, weights: Float[Tensor, "n c"], fold_ids: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Logits of each part by the others."""
    class_weights, logits = weights.double().numpy(), np.zeros(weights.shape)
    for fold in fold_ids.unique():
        held_out = (fold_ids == fold).numpy()
        held_out_terms, training_weights = (
            terms[held_out],
            np.where(held_out[:, None], 0.0, class_weights),
        )
        # A class at a time: all of them by all terms would be much larger than the rows.
        for t, weights_of_class in enumerate(training_weights.T):
            logits[held_out, t] = held_out_terms @ _compute_log_rates(terms, weights_of_class)
    return torch.from_numpy(logits)


def _compute_log_rates(terms: csr_matrix, weights: np.ndarray) -> np.ndarray:
    counts = terms.T @ weights + PSEUDO_COUNT
    return np.log(counts / counts.sum())
