"""Failed checks in the headline, and baselines."""

import pytest
from audited_runs import audited
from scipy.stats import spearmanr

from tasks.report.page import build_page
from tasks.report.reliability import check_reliability, compare_baselines
from tasks.report.tfidf_space import make_tfidf_space


def test_the_headline_names_failed_checks(world):
    night = audited(world, curvature={"damping": 1e6}, candidates={"kind": "knn", "k": 2})
    checks = {check.name: check for check in check_reliability(night)}
    assert checks["gradient product"].passed is False
    assert "Read with care" in build_page(night).headline[2]


def test_baselines_are_rank_correlations(night):
    by_name = {
        baseline.name: baseline for baseline in compare_baselines(night, make_tfidf_space(night))
    }
    harm = dict.fromkeys(night.train["train"].to_list(), 0.0)
    for train, effect in night.scores.select("train", "removal_effect").iter_rows():
        harm[train] -= min(0.0, effect)
    loss = night.train["loss"].to_list()
    expected = spearmanr(loss, list(harm.values())).statistic
    assert by_name["loss"].correlation == pytest.approx(expected, abs=1e-6)
    for baseline in by_name.values():
        assert 0 <= baseline.overlap <= 1
