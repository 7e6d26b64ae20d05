"""Multinomial logistic regression of a word's tag on dense and sparse features, cross-fitted."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from fastif.mislabels.group_folds import assign_group_folds
from fastif.numerics.optimize import minimize_lbfgs_by_gradient

STEPS = 40
"""Largest number of L-BFGS iterations."""
DENSE_PENALTY, SPARSE_PENALTY = 1e-4, 1e-5
"""L2 penalties on the weights of standardized dense features and of sparse rows of norm 1."""


@dataclass(frozen=True, eq=False)
class WordData:
    """Words with features that were made without their tags.

    Attributes:
        sparse: Surface features, [w, s].
        dense: Standardized embeddings, [w, d]; None without an encoder.
        groups: Group of each word, [w]; words of a group share a fold.
    """

    sparse: csr_matrix
    dense: Float[Tensor, "w d"] | None
    groups: Int[Tensor, " w"]

    def __len__(self) -> int:
        return len(self.groups)


def cross_fit_words(
    words: WordData, tags: Int[Tensor, " w"], classes: int, folds: int, seed: int = 0
) -> Float[Tensor, "w c"]:
    """Return out-of-fold logits of every word's tag (cross-fitting).

    Args:
        words: Features and groups.
        tags: Class of each word's given tag.
        classes: Number of classes.
        folds: Number of folds; a word's logits are from a head fitted to the other folds.
        seed: Random seed of the folds.

    Raises:
        InputError: All words are in one group.
    """
    fold_ids = assign_group_folds(words.groups, folds, seed)
    logits = torch.zeros(len(words), classes)
    transposed = words.sparse.T.tocsr()
    for fold in fold_ids.unique():
        held_out = fold_ids == fold
        logits[held_out] = _fit(words, transposed, tags, classes, ~held_out)[held_out]
    return logits


def _fit(
    words: WordData,
    transposed: csr_matrix,
    tags: Int[Tensor, " w"],
    classes: int,
    trained: Tensor,
) -> Float[Tensor, "w c"]:
    """Fit a head to some words, and return the logits of all."""
    dense = words.dense if words.dense is not None else torch.zeros(len(words), 0)
    shares = trained.float() / trained.sum()
    W = torch.zeros(dense.shape[1], classes)
    V, bias = torch.zeros(len(transposed.indptr) - 1, classes), torch.zeros(classes)
    target = torch.nn.functional.one_hot(tags, classes).float()

    def compute_logits() -> Tensor:
        return dense @ W + torch.from_numpy(words.sparse @ V.numpy()) + bias

    def compute_gradients() -> tuple[Tensor, list[Tensor]]:
        log_probabilities = compute_logits().log_softmax(1)
        error = (log_probabilities.exp() - target) * shares[:, None]
        value = -(log_probabilities.gather(1, tags[:, None])[:, 0] * shares).sum()
        value += DENSE_PENALTY / 2 * W.square().sum() + SPARSE_PENALTY / 2 * V.square().sum()
        sparse_gradient = torch.from_numpy(np.asarray(transposed @ error.numpy()))
        gradients = [dense.T @ error + DENSE_PENALTY * W, sparse_gradient + SPARSE_PENALTY * V]
        return value, [*gradients, error.sum(0)]

    minimize_lbfgs_by_gradient(
        compute_gradients, [W, V, bias], max_iter=STEPS, history_size=10, tolerance_grad=1e-6
    )
    return compute_logits()
