"""Whether heads fitted to what is believed of labels know more than heads fitted to the labels.

Beliefs are made of labels, so a row's own label has had its say in the beliefs of the rows that
judge it: cross-fitting does not tell whether another round of fitting has learnt anything. Here a
part of the rows is put aside before the first round, and asked after each.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.knn import smooth_logits
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.noise_model import compute_posterior, fit_noise_model, label_log_likelihood

INNER_FOLDS = 3
"""Folds within what is left: enough to compare two rounds by."""

MAX_STANDARD_ERRORS = 1.645
"""Standard errors of the difference by which the second round has to be worse to be left out."""


def second_round_improves(
    rows: LabeledData, neighbour_ids: Int[Tensor, "n k"], cross_fitter: CrossFitter
) -> bool:
    """Unless labels that nothing has seen are less likely after a second round than after one.

    Where classes overlap and few labels are wrong, doubt is taken for noise, labels are believed
    less than they deserve, and what is fitted to the beliefs knows less. Where many are wrong it
    knows more.

    Args:
        rows: to be judged.
        neighbour_ids: neighbours of each.
        cross_fitter: how heads are fitted; a partition of another seed is put aside part by part.
    """
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
            p, transition = fit_noise_model(
                smooth_logits(training_logits, training_logits, inner_neighbours[~held_out]),
                training.labels,
                training.known_one_hot,
            )
            targets = training.clamp_to_known(compute_posterior(p, training.labels, transition))
    first, second = (label_log_likelihood(logits, rows.labels) for logits in round_logits)
    gain = second - first
    return (
        float(gain.mean()) > -MAX_STANDARD_ERRORS * float(gain.std(correction=0)) / len(gain) ** 0.5
    )
