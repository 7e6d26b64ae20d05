"""Recall of injected flips by what is reachable, also of detections of earlier versions."""

import pytest

from tasks.mislabels.reachable_recall import read_reachable_recall
from tasks.terminal.mislabels import describe_flip_recall


def make_facts(**changed):
    recall = {"planted": 350, "budget": 100, "any": 0.4, "confusable": 0.2}
    return {"recall": recall | changed}


def test_an_earlier_version_is_divided_by_what_its_budget_could_hold():
    """Two sets of 175 flips, and 100 places for each: at most 100 / 175."""
    recall = read_reachable_recall(make_facts())
    assert recall.reachable == pytest.approx(100 / 175)
    assert recall.of_reachable == pytest.approx({"any": 0.7, "confusable": 0.35})
    assert recall.make_record()["recall"] == {"any": 0.4, "confusable": 0.2}, "as it was measured"
    text = describe_flip_recall(make_facts())
    assert "at most 57% fit into the first 100 rows; of these 70% (flipped to a random" in text


def test_a_recorded_reachable_share_is_used():
    recall = read_reachable_recall(make_facts(planted=60, reachable=1.0))
    assert recall.of_reachable == {"any": 0.4, "confusable": 0.2}
    assert "of 60 labels flipped in copies of the data, 40% (flipped" in str(recall)
    assert "at most" not in str(recall)


def test_a_kind_without_flips_has_no_recall():
    recall = read_reachable_recall(make_facts(any=float("nan")))
    assert recall.shares == ("none", "35%")
    assert read_reachable_recall({"recall": {"planted": 0}}) is None
