"""Held-out likelihood test of a second round with soft targets.

The posterior depends on every row's own label, through the posteriors of the other rows. So
cross-fitting alone cannot measure what a second round gains. Here a fold is held out before the
first round, and the likelihood of its labels is compared after each.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.identical_rows import pool_identical_labels
from fastif.mislabels.knn import find_neighbours, smooth_logits
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.noise_model import fit_noise_model, label_log_likelihood

INNER_FOLDS = 3
"""Number of cross-fitting folds within the rows that are not held out."""

MAX_ROWS = 20_000
"""Maximum number of rows of the test."""

MAX_STANDARD_ERRORS = 1.645
"""One-sided 95 % quantile: loss of likelihood, in standard errors, beyond which there is no second
round."""


def second_round_improves(
    rows: LabeledData, neighbour_ids: Int[Tensor, "n k"], cross_fitter: CrossFitter
) -> bool:
    """Whether a second round keeps the likelihood of held-out labels, up to 1.645 standard errors.

    Where classes overlap and few labels are wrong, uncertainty of the classifier is confounded with
    label noise, and heads fitted to the posterior get worse. With many wrong labels they get
    better. Of more than 20,000 rows, a random sample is tested.

    Args:
        rows: Labelled data.
        neighbour_ids: Positions of each row's nearest neighbours, [n, k].
        cross_fitter: Cross-fitting of the heads; the folds that are held out have another seed.

    Returns:
        False if the mean log-likelihood falls by more than 1.645 standard errors, or if a fold
        leaves a single class or group.
    """
    if len(rows.labels) > MAX_ROWS:
        rows = _sample_rows(rows)
        neighbour_ids = find_neighbours(rows.features, neighbour_ids.shape[1])
    inner = replace(cross_fitter, folds=INNER_FOLDS, repeats=1)
    fold_ids = replace(cross_fitter, seed=cross_fitter.seed + cross_fitter.repeats).assign_folds(
        rows
    )
    round_logits = torch.zeros(2, len(rows.labels), rows.classes)
    for fold in fold_ids.unique():
        held_out = fold_ids == fold
        if min(len(column[~held_out].unique()) for column in (rows.labels, rows.group_ids)) < 2:
            return False
        training = rows.select(~held_out)
        positions = torch.full((len(held_out),), -1)
        positions[~held_out] = torch.arange(len(training.labels))
        inner_neighbours = positions[neighbour_ids]
        targets = one_hot(training.labels, rows.classes).float()
        for round_number in range(2):
            training_logits, held_out_logits = inner.predict_with_others(
                training, targets, rows.features[held_out]
            )
            round_logits[round_number, held_out] = smooth_logits(
                held_out_logits, training_logits, inner_neighbours[held_out]
            )
            if round_number == 0:
                targets = _fit_soft_targets(training, training_logits, inner_neighbours[~held_out])
    first, second = (label_log_likelihood(logits, rows.labels) for logits in round_logits)
    gain = second - first
    return (
        float(gain.mean()) > -MAX_STANDARD_ERRORS * float(gain.std(correction=0)) / len(gain) ** 0.5
    )


def _sample_rows(rows: LabeledData) -> LabeledData:
    """Random sample of `MAX_ROWS` rows, in the order of the rows."""
    order = torch.randperm(len(rows.labels), generator=torch.Generator().manual_seed(0))
    return rows.select(torch.zeros(len(order)).index_fill(0, order[:MAX_ROWS], 1).bool())


def _fit_soft_targets(
    rows: LabeledData, logits: Float[Tensor, "n c"], neighbour_ids: Int[Tensor, "n k"]
) -> Float[Tensor, "n c"]:
    """Posterior of the classes after the first round, with reviewed rows as they are known."""
    smoothed = smooth_logits(logits, logits, neighbour_ids)
    model = fit_noise_model(
        smoothed, rows.labels, rows.known_one_hot, logits, rows.evidence_weights
    )
    return rows.clamp_to_known(pool_identical_labels(model.posterior, rows, model.transition))
