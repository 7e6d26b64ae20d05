"""Identical rows with different labels: one cluster, and one finding with two candidates."""

import polars as pl
import torch

from fastif.mislabels.labeled_data import LabeledData
from tasks.mislabels.contradictions import (
    Contradictions,
    count_contradictions,
    is_contradiction,
    merge_contradictions,
)
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame
from tasks.mislabels.table import _find_contradicting, _group_decisions
from tests.tasks.mislabels.annotated_store import make_detection

ROWS = [("a", "cats purr", "dog"), ("b", "cats purr", "cat"), ("c", "dogs bark", "dog"),
        ("d", "cats purr", "dog"), ("e", "a mouse", "cat")]  # fmt: skip
CLUSTERS = [0, 0, 1, 0, 2]


def test_identical_rows_of_different_labels_are_one_cluster():
    contents = torch.tensor([5, 5, 3, 5, 8, 8])
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    data = LabeledData(torch.eye(6), labels, 2, contents.clone(), contents=contents)
    clusters = _group_decisions(data, 1 - labels).tolist()
    assert clusters[0] == clusters[1] == clusters[3]
    assert clusters[4] == clusters[5]
    assert len(set(clusters)) == 3
    assert _find_contradicting(data) == {0: 1, 1: 0, 3: 1}


def test_contradictions_are_counted():
    frame = make_detection(ROWS, cluster=CLUSTERS)
    assert count_contradictions(frame) == Contradictions(contents=1, rows=3, wrong=1)
    settled = frame.with_columns(reviewed=pl.lit("cat"))
    assert count_contradictions(settled) == Contradictions(0, 0, 0)
    assert count_contradictions(make_detection(ROWS)) == Contradictions(0, 0, 0)


def test_a_contradiction_is_one_finding():
    frame = make_detection(ROWS, cluster=CLUSTERS)
    assert merge_contradictions(frame.sort("rank"))["id"].to_list() == ["a", "c", "e"]
    same_label = make_detection(ROWS, cluster=[0, 1, 2, 0, 3])
    assert merge_contradictions(same_label)["id"].to_list() == list("abcde")
    first, second, third = (frame.row(i, named=True) for i in range(3))
    assert is_contradiction(first, second)
    assert not is_contradiction(first, third)
    assert not is_contradiction(first, frame.row(3, named=True))


def test_the_reviewed_row_names_the_other_candidate():
    frame = make_review_frame(MislabelResult(make_detection(ROWS, cluster=CLUSTERS), {}), 10)
    assert frame["id"].to_list() == ["a", "c", "e"]
    assert frame["alike"].to_list() == [3, 1, 1]
    assert frame["contradicts"].to_list() == ["cat: row b", None, None]
