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

from fastif.mislabels.cross_fitting import Crossing
from fastif.mislabels.knn import among
from fastif.mislabels.labeled_data import Rows
from fastif.mislabels.noise_model import explained, likeliest, posterior

INNER = 3
"""Folds within what is left: enough to compare two rounds by."""

SURE = 1.645
"""Standard errors of the difference by which the second round has to be worse to be left out."""


def another_round_pays(rows: Rows, near: Int[Tensor, "n k"], crossing: Crossing) -> bool:
    """Unless labels that nothing has seen are less likely after a second round than after one.

    Where classes overlap and few labels are wrong, doubt is taken for noise, labels are believed
    less than they deserve, and what is fitted to the beliefs knows less. Where many are wrong it
    knows more.

    Args:
        rows: to be judged.
        near: neighbours of each.
        crossing: how heads are fitted; a partition of another seed is put aside part by part.
    """
    inner = replace(crossing, folds=INNER, repeats=1)
    parts = replace(crossing, seed=crossing.seed + crossing.repeats).parts(rows)
    rounds = torch.zeros(2, len(rows.labels), rows.classes)
    for part in parts.unique():
        aside = parts == part
        if min(len(of[~aside].unique()) for of in (rows.labels, rows.together)) < 2:
            return False
        kept = rows.only(~aside)
        place = torch.full((len(aside),), -1)
        place[~aside] = torch.arange(len(kept.labels))
        inside = place[near]
        targets = one_hot(kept.labels, rows.classes).float()
        for number in range(2):
            own, told = inner.with_others(kept, targets, rows.features[aside])
            rounds[number, aside] = among(told, own, inside[aside])
            p, noise = likeliest(among(own, own, inside[~aside]), kept.labels, kept.certain)
            targets = kept.held(posterior(p, kept.labels, noise))
    first, second = (explained(logits, rows.labels) for logits in rounds)
    gain = second - first
    return float(gain.mean()) > -SURE * float(gain.std(correction=0)) / len(gain) ** 0.5
