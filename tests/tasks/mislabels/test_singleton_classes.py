"""Rows that are the only one of their class have no error probability."""

import polars as pl
import torch

from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.table import NO_PROBABILITY, _rank_rows, mask_singleton_classes
from tasks.terminal.mislabels import make_flagged_table

# Classes 0 and 1 have two rows, 2 a single one, 3 one in three copies, 4 two rows.
LABELS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 4, 4])
GROUPS = torch.tensor([0, 1, 2, 3, 4, 5, 5, 5, 6, 7])


def find_singletons(known=None, classifier_logits=None, trusted=()):
    features = torch.randn(len(LABELS), 2, generator=torch.Generator().manual_seed(0))
    reviewed = torch.full_like(LABELS, NOT_REVIEWED)
    for row, label in (known or {}).items():
        reviewed[row] = label
    rows = LabeledData(features, LABELS, 6, GROUPS, reviewed, classifier_logits)
    return mask_singleton_classes(rows, trusted).nonzero()[:, 0].tolist()


def test_singleton_classes_are_masked_with_their_copies():
    assert find_singletons() == [4, 5, 6, 7]


def test_a_second_row_by_annotation_trust_or_classifier_lifts_the_mask():
    assert find_singletons(known={0: 2}) == [1, 5, 6, 7], (
        "the annotation moves a row from class 0 to class 2"
    )
    assert find_singletons(trusted=[3]) == [4]
    assert find_singletons(classifier_logits=torch.zeros(len(LABELS), 6)) == []


def test_reviewed_rows_are_not_masked():
    assert find_singletons(known={4: 2}) == [5, 6, 7]
    assert find_singletons(known={8: NO_LABEL_FITS}) == [4, 5, 6, 7, 9]


def test_rows_without_a_probability_have_the_last_ranks():
    probability = torch.tensor([0.1, NO_PROBABILITY, 0.9, 0.0])
    known = torch.tensor([NOT_REVIEWED, NOT_REVIEWED, NOT_REVIEWED, 1])
    assert _rank_rows(probability, known).tolist() == [1, 2, 0, 3]


def test_masked_rows_have_no_probability_in_the_table():
    row = {"id": "a", "label": "x", "suggested": "y", "rank": 0, "reviewed": None}
    (suspect,) = make_flagged_table(MislabelResult(pl.DataFrame([row | {"probability": None}]), {}))
    assert suspect["strength"] == "unknown: the only row of its class"
