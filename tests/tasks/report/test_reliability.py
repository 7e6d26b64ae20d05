"""Failed checks in the headline, and baselines."""

import pytest
from audited_runs import audited
from scipy.stats import spearmanr

from tasks.report.page import build_page
from tasks.report.reliability import check_reliability, compare_baselines
from tasks.report.tfidf_space import make_tfidf_space


def test_the_headline_names_failed_checks(world):
    data = audited(world, curvature={"damping": 1e6}, candidates={"kind": "knn", "k": 2})
    checks = {check.name: check for check in check_reliability(data)}
    assert checks["gradient product"].passed is False
    assert "Read with care" in build_page(data).headline[2]


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
