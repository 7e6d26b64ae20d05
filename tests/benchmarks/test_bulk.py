"""Recall curves against values computed by hand, and the page and plot made from them."""

from xml.etree import ElementTree

import polars as pl
import pytest
import torch

from benchmarks.bulk.corpora import with_flips
from benchmarks.bulk.plot import svg
from benchmarks.bulk.recall import Ranking, chance, curve, recall
from benchmarks.bulk.report import build_pages, write_plots
from benchmarks.bulk.retrieval import GOAL_SHARE, verdict
from benchmarks.page import write_pages

EXACT = torch.tensor(
    [
        [0.9, -0.8, 0.1, 0.0, 0.2, -0.3, 0.05, 0.04, 0.03, 0.02],
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, -0.9],
    ]
)
"""The 2 largest absolute effects: rows 0 and 1 of the first query, 9 and 8 of the second."""


def test_recall_counts_the_largest_by_size_whatever_their_sign():
    ranking = torch.tensor([[0, 1, 2], [8, 7, 6]])
    assert recall(ranking, EXACT, 2).tolist() == [1.0, 0.5]
    assert recall(ranking, EXACT, 1).tolist() == [1.0, 0.0]  # 9 is not among 8, 7, 6


def test_candidates_are_top_and_bottom_or_top_alone():
    both, top = (Ranking(EXACT[:1], both_ends=both) for both in (True, False))
    assert both.candidates(3).tolist() == [[0, 4, 1]]  # two highest, the lowest
    assert top.candidates(3).tolist() == [[0, 4, 2]]
    assert sorted(both.candidates(10)[0].tolist()) == list(range(10))  # none twice


def test_a_ranking_without_queries_applies_to_all_queries():
    norm = Ranking(torch.arange(10.0)[None], both_ends=False)
    points = curve(norm, EXACT, 2, shares=(0.2, 0.9))
    # k = 2 finds rows 9, 8: none and both; k = 9 all but row 0: half and both.
    assert [point["mean"] for point in points] == [0.5, 0.75]
    assert points[0]["error"] == pytest.approx(0.5)  # deviation √½ over √2
    assert points[1]["error"] == pytest.approx(0.25)


def test_exact_scores_have_the_highest_possible_recall():
    exact = Ranking(EXACT, both_ends=True)
    # k = 1 takes the highest: row 0 is one of the first query's two, 8 of the second's.
    assert [p["mean"] for p in curve(exact, EXACT, 2, shares=(0.1, 0.2))] == [0.5, 1.0]


def test_chance_is_the_share_of_candidates():
    assert chance((0.25,), 10) == [{"mean": 0.2, "error": 0.0}]  # 2 of 10


def test_flips_change_exactly_the_given_share_of_labels():
    table = pl.DataFrame({"id": range(50), "label": ["a", "b"] * 25})
    flipped = with_flips(table, ("a", "b"), 0.1)
    assert int((flipped["label"] != table["label"]).sum()) == 5
    assert flipped["id"].equals(table["id"])
    assert flipped.equals(with_flips(table, ("a", "b"), 0.1))


def _method(ten: float, hundred: float, **more: float) -> dict:
    def points(mean: float) -> list[dict]:
        return [{"mean": mean, "error": 0.01}] * 6

    return {"recall": {"10": points(ten), "100": points(hundred)}, **more}


def _sketch(ten: float, hundred: float, size: int) -> dict:
    spread = {"mean": 0.5, "error": 0.01}
    return _method(
        ten, hundred, bytes_a_row=size, score_milliseconds=1.0, row_seconds=0.001,
        spearman=spread, pearson=spread,
    )  # fmt: skip


METHODS = {
    "sketch small": _sketch(0.9, 0.5, 1_000),
    "sketch fits": _sketch(0.99, 0.8, 8_192),
    "sketch too large": _sketch(1.0, 1.0, 8_194),
    "chance": _method(0.05, 0.05),
}


def test_the_goal_is_for_the_best_sketch_within_the_size_limit():
    goal = verdict(METHODS)
    assert goal["best"] == "sketch fits"
    assert goal["share"] == GOAL_SHARE
    assert goal["reached"] == {"10": True, "100": False}


def test_the_page_marks_a_missed_goal_and_the_plot_is_valid(tmp_path):
    known = {
        "title": "a < b", "rows": 10, "queries": 2, "labels": 2, "flipped": 0.1, "parameters": 7,
        "query_accuracy": 0.5, "damping": {"chosen": 0.1, "rule": "given"}, "curvature_rows": 4,
        "largest_residual": 1e-6, "shares": [0.005, 0.01, 0.02, 0.05, 0.1, 0.2],
        "methods": METHODS, "goal": verdict(METHODS),
        "machine": {
            "date": "d", "processor": "Abacus", "cores": 2, "threads": 2, "versions": {"torch": "t"}
        },
    }  # fmt: skip
    write_pages(tmp_path, build_pages({"retrieval": {"toy": known}}))
    write_plots(tmp_path / "images", {"retrieval": {"toy": known}})
    text = (tmp_path / "retrieval.md").read_text()
    assert "d: Abacus, 2 cores, 2 threads, torch t." in text
    assert "R@100 ≥ 0.90: 0.800, **not reached**" in text
    ElementTree.fromstring((tmp_path / "images" / "bulk-retrieval-toy.svg").read_text())


def test_a_plot_has_a_line_a_method_and_panel():
    drawn = svg("t", (0.01, 0.1), {"R@10": {"chance": (0.01, 0.1), "sketch": (0.5, 1.0)}})
    lines = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}polyline")
    ends = [line.attrib["points"].split()[-1] for line in lines]
    assert ends == ["348.0,210.4", "348.0,34.0"]  # 0.1 and 1 of the way up, at the right edge
