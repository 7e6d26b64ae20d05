"""Checks of reliability, those in the headline, and baselines."""

import pytest
import torch
from audited_runs import audited
from handmade_runs import make_run_data, rows
from scipy.stats import spearmanr

from fastif.evaluation.recall import Recall
from fastif.numerics.mean_confidence_interval import mean_confidence_interval
from tasks.report.duplicates import find_duplicates
from tasks.report.page import build_page, render_page
from tasks.report.reliability import MIN_RECALL, check_reliability, compare_baselines, is_above
from tasks.report.tfidf_space import make_tfidf_space
from tasks.report.undecided_checks import ENOUGH_QUERIES


@pytest.mark.long
def test_the_headline_names_failed_checks(world):
    data = audited(world, curvature={"damping": 1e6}, candidates={"kind": "knn", "k": 2})
    checks = {check.name: check for check in check_reliability(data)}
    assert checks["gradient product"].passed is False
    assert "Read with care" in build_page(data).headline[2]


def read_checks(data):
    return {
        check.name: check
        for check in check_reliability(data, find_duplicates(data, make_tfidf_space(data)))
    }


GOOD = {"residual": 1e-6, "converged": True, "resembles_gradient_product": False}
GOOD |= {"score_correlation": 0.5}


def share(at, share, low, high):
    return vars(Recall(at, 40, share, low, high))


CHECKS = [
    ("recall at 10", {"recall": [share(10, 1.0, 0.97, 1.0)]}, "passed"),
    ("recall at 10", {"recall": [share(10, 1.0, 0.58, 1.0)]}, "inconclusive"),
    ("recall at 10", {"recall": [share(10, 0.7, 0.5, 0.9)]}, "failed"),
    ("recall", {}, "inconclusive"),
    ("residual", {"solves": GOOD}, "passed"),
    ("residual", {"solves": GOOD | {"residual": 0.1}}, "failed"),
    ("residual", {"solves": GOOD | {"converged": False}}, "failed"),
    ("gradient product", {"solves": GOOD}, "passed"),
    ("gradient product", {"solves": GOOD | {"resembles_gradient_product": True}}, "failed"),
    ("queries without scores", {}, "passed"),
    ("queries without scores", {"solves": {"reason": "not finite"}}, "failed"),
    ("query leakage", {}, "passed"),
]


@pytest.mark.parametrize(("name", "given", "state"), CHECKS)
def test_each_check_passes_fails_or_is_inconclusive(tmp_path, name, given, state):
    data = make_run_data(tmp_path, rows("t", 12, ["x"], "s"), rows("q", 12, ["x"], "s"), **given)
    assert read_checks(data)[name].verdict == state


POINT = {"spearman": 0.9, "top_10": 0.9, "top_100": 0.9}


def describe_agreement(*interval):
    """Record of a sample's measured agreement: rows, correlation, low and high bound."""
    point = dict(zip(("rows", "pearson", "low", "high"), interval, strict=True))
    return {"measured": {"points": [point | POINT], "queries": 8, "residual": 0.01, "passes": 3}}


@pytest.mark.parametrize(
    ("agreement", "state", "reason"),
    [
        (describe_agreement(512, 0.95, 0.92, 0.99) | {"lacks": ""}, "passed", ""),
        (describe_agreement(512, 0.5, 0.3, 0.8) | {"lacks": ""}, "failed", ""),
        (describe_agreement(512, 0.92, 0.85, 0.96) | {"lacks": ""}, "inconclusive",
         "On 8 queries, effects by 512 curvature rows have a correlation of 0.85 to 0.96 with"),
        ({"measured": None, "lacks": "it would take 20 min"}, "inconclusive",
         "not compared with those by all rows: it would take 20 min. A larger [run] budget"),
    ],
)  # fmt: skip
def test_the_sample_of_the_curvature_is_checked(tmp_path, agreement, state, reason):
    tables = rows("t", 12, ["x"], "s"), rows("q", 12, ["x"], "s")
    data = make_run_data(tmp_path, *tables, curvature={"agreement": agreement})
    check = read_checks(data)["curvature sample"]
    assert check.verdict == state
    assert reason in check.undecided
    assert bool(reason) == bool(check.undecided) == (state == "inconclusive")
    assert not reason or 'rows = "all" needs no comparison' in check.undecided


@pytest.mark.parametrize(("queries", "remedy"), [(12, "Set [candidates] kind = "), (200, "160")])
def test_an_inconclusive_check_names_what_would_decide_it(tmp_path, queries, remedy):
    """The recalls of both sizes have a reason in common, named once in what to do."""
    recall = [share(10, 1.0, 0.58, 1.0), share(100, 0.99, 0.57, 1.0)]
    tables = rows("t", 12, ["x"], "s"), rows("q", queries, ["x"], "s")
    page = build_page(make_run_data(tmp_path, *tables, recall=recall))
    (action,) = [action for action in page.actions if action.anchor == "trust"]
    assert action.what == "Inconclusive: recall at 10, recall at 100"
    assert action.why.startswith(f"40 of {queries} ")
    assert remedy in action.why
    assert render_page(page).replace("&#34;", '"').count(action.why) == 3


def test_decided_checks_are_not_called_inconclusive(tmp_path):
    recall = [share(10, 1.0, 0.97, 1.0), share(100, 0.6, 0.5, 0.7)]
    tables = rows("t", 12, ["x"], "s"), rows("q", 12, ["x"], "s")
    page = build_page(make_run_data(tmp_path, *tables, recall=recall))
    assert not any("Inconclusive" in str(action) for action in page.actions)


@pytest.mark.parametrize(
    ("queries", "passed"), [(ENOUGH_QUERIES // 2, None), (ENOUGH_QUERIES, True)]
)
def test_the_named_number_of_queries_can_show_a_perfect_recall(queries, passed):
    assert is_above(*mean_confidence_interval(torch.ones(queries)), MIN_RECALL) is passed


def test_a_check_fails_if_queries_are_training_rows(tmp_path):
    train = rows("t", 12, ["x"], "s")
    data = make_run_data(tmp_path, train, train, solves=GOOD)
    check = read_checks(data)["query leakage"]
    assert (check.measured, check.verdict) == ("12 of 12 leaked", "failed")
    assert "Read with care, checks failed: query leakage" in build_page(data).headline[2]


def test_baselines_are_rank_correlations(data):
    by_name = {
        baseline.name: baseline for baseline in compare_baselines(data, make_tfidf_space(data))
    }
    harm = dict.fromkeys(data.train["train"].to_list(), 0.0)
    for train, effect in data.scores.select("train", "removal_effect").iter_rows():
        harm[train] -= min(0.0, effect)
    loss = data.train["loss"].to_list()
    expected = spearmanr(loss, list(harm.values())).statistic
    assert by_name["loss"].correlation == pytest.approx(expected, abs=1e-6)
    for baseline in by_name.values():
        assert 0 <= baseline.overlap <= 1
