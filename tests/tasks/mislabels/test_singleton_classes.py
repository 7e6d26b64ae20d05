"""Rows that are the only one of their class: no probability is told of them."""

import polars as pl
import torch

from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.table import NO_PROBABILITY, _rank_rows, mask_singleton_classes
from tasks.terminal.mislabels import make_flagged_table

# Classes 0 and 1 have two rows, 2 a single one, 3 one in three copies, 4 two rows.
LABELS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 4, 4])
GROUPS = torch.tensor([0, 1, 2, 3, 4, 5, 5, 5, 6, 7])


def find_singletons(known=None, judged=None, trusted=()):
    features = torch.randn(len(LABELS), 2, generator=torch.Generator().manual_seed(0))
    marks = torch.full_like(LABELS, NOT_REVIEWED)
    for row, label in (known or {}).items():
        marks[row] = label
    rows = LabeledData(features, LABELS, 6, GROUPS, marks, judged)
    return mask_singleton_classes(rows, trusted).nonzero()[:, 0].tolist()


def test_a_class_of_one_row_and_of_its_copies_cannot_be_judged():
    assert find_singletons() == [4, 5, 6, 7]


def test_another_row_of_the_class_is_enough_whoever_says_that_it_is_one():
    assert find_singletons(known={0: 2}) == [1, 5, 6, 7], (
        "a verdict: class 0 has lost a row, 2 has got one"
    )
    assert find_singletons(trusted=[3]) == [4]
    assert find_singletons(judged=torch.zeros(len(LABELS), 6)) == []


def test_a_row_that_was_looked_at_needs_no_judge():
    assert find_singletons(known={4: 2}) == [5, 6, 7]
    assert find_singletons(known={8: NO_LABEL_FITS}) == [4, 5, 6, 7, 9]


def test_such_rows_come_after_all_that_have_a_probability():
    probability = torch.tensor([0.1, NO_PROBABILITY, 0.9, 0.0])
    known = torch.tensor([NOT_REVIEWED, NOT_REVIEWED, NOT_REVIEWED, 1])
    assert _rank_rows(probability, known).tolist() == [1, 2, 0, 3]


def test_no_number_is_told_of_them():
    row = {"id": "a", "label": "x", "suggested": "y", "rank": 0, "reviewed": None}
    (suspect,) = make_flagged_table(MislabelResult(pl.DataFrame([row | {"probability": None}]), {}))
    assert suspect["probability"] == "unknown: the only row of its class"
