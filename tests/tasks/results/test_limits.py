"""Tests against limits: intervals by closed forms and simulation, decisions by hand."""

from itertools import product

import handmade_runs
import numpy as np
import polars as pl
import pytest
from handmade_runs import Row, make_run_data, open_store, write_run
from scipy.stats import binomtest

from tasks.mislabels.label_statement import make_label_statement
from tasks.mislabels.merged_annotations import Annotations
from tasks.results.alerts import find_failed_limits
from tasks.results.compare_runs import SliceDifference
from tasks.results.limits import Status, check_limits, find_worst_status
from tasks.results.paired_accuracy import compare_paired_accuracy, compute_sign_test
from tasks.study.report_section import ReportLimits


def _rows(prefix, right, wrong, **groups):
    return [
        Row(f"{prefix}{i}", f"{prefix} text {i}", correct=i < right, groups=groups)
        for i in range(right + wrong)
    ]


def _check(folder, queries, key, limit, train=None, labels=None, **given):
    data = make_run_data(folder, train or _rows("t", 3, 0), queries, **given)
    limits = ReportLimits(**{key: limit})
    tests = check_limits(limits, data.summary, data.queries, data.difference, labels)
    assert [test.key for test in tests] == list(ReportLimits.model_fields)
    assert all(test.status is Status.OPEN for test in tests if test.key != key)
    (test,) = [test for test in tests if test.key == key]
    return test


@pytest.mark.parametrize(
    ("limit", "status"),
    [(0.71, Status.PASS), (0.72, Status.WARN), (0.86, Status.WARN), (0.87, Status.FAIL)],
)
def test_accuracy_is_decided_by_its_wilson_interval(tmp_path, limit, status):
    """80 of 100: Wilson's interval is 0.711 to 0.867."""
    test = _check(tmp_path, _rows("q", 80, 20), "accuracy_below", limit)
    z2 = 1.959964**2
    middle = (0.8 + z2 / 200) / (1 + z2 / 100)
    half = np.sqrt(z2) * np.sqrt(0.16 / 100 + z2 / 40_000) / (1 + z2 / 100)
    assert f"({middle - half:.1%} - {middle + half:.1%})" in test.measured
    assert test.status is status
    assert test.value == 0.8


def test_the_worst_slice_is_tested_with_an_interval_for_all_slices(tmp_path):
    queries = [
        *_rows("a", 19, 1, kind="a"),
        *_rows("b", 8, 12, kind="b"),
        *_rows("c", 0, 5, kind="c"),
    ]
    test = _check(tmp_path, queries, "slice_below", 0.7)
    assert test.status is Status.FAIL
    assert test.measured.startswith("b: 40.0%"), "five queries are too few"
    assert "lowest of 2 slices" in test.measured
    # 8 of 20 is below 0.63 with 95 %, and below 0.66 for two slices at once
    assert _check(tmp_path / "2", queries, "slice_below", 0.64).status is Status.WARN


def test_a_table_without_groups_has_no_slices(tmp_path):
    test = _check(tmp_path, _rows("q", 3, 1), "slice_below", 0.9)
    assert (test.status, test.value) == (Status.OPEN, None)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [(2, 9, Status.PASS), (8, 15, Status.WARN), (12, 20, Status.FAIL)],
)
def test_wrong_labels_are_decided_by_the_random_sample(tmp_path, low, high, status):
    errors = {"expected": (low + high) / 2, "low": low, "high": high, "counted": 100}
    facts = {"counted_by": "random sample", "errors": errors}
    labels = make_label_statement(facts, Annotations())
    test = _check(tmp_path, _rows("q", 3, 0), "wrong_labels_above", 0.1, labels=labels)
    assert test.status is status


@pytest.mark.parametrize("facts", [None, {"errors": None}])
def test_labels_that_were_not_counted_are_a_warning_with_the_command(tmp_path, facts):
    labels = make_label_statement(facts, Annotations())
    test = _check(tmp_path, _rows("q", 3, 0), "wrong_labels_above", 0.1, labels=labels)
    assert test.status is Status.WARN
    assert test.remedy.startswith("fastif mislabels" if facts is None else "fastif review export")


@pytest.mark.parametrize(("limit", "status"), [(0, Status.FAIL), (2, Status.PASS)])
def test_leaks_are_counted(tmp_path, limit, status):
    queries = _rows("q", 5, 0)
    train = [*_rows("t", 3, 0), *(Row(f"c{i}", queries[i].text) for i in range(2))]
    test = _check(tmp_path, queries, "leaks_above", limit, train=train)
    assert (test.status, test.value) == (status, 2)
    assert test.bound == f"at most {limit}"


def _share(at, value, low, high):
    return {"at": at, "share": value, "low": low, "high": high, "queries": 40}


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ([_share(10, 0.99, 0.96, 1.0), _share(100, 0.98, 0.95, 0.99)], Status.PASS),
        ([_share(10, 0.99, 0.96, 1.0), _share(100, 0.91, 0.86, 0.95)], Status.WARN),
        ([_share(10, 0.80, 0.70, 0.88), _share(100, 0.99, 0.95, 0.99)], Status.FAIL),
        ([], Status.WARN),
    ],
)
def test_the_lowest_recall_decides(tmp_path, entries, status):
    test = _check(tmp_path, _rows("q", 3, 0), "recall_below", 0.9, recall=entries)
    assert test.status is status
    assert bool(test.remedy) == (not entries)


@pytest.mark.parametrize(("limit", "status"), [(0.4, Status.FAIL), (0.6, Status.PASS)])
def test_the_largest_residual_decides(tmp_path, limit, status):
    solves = {"residual": 0.5, "converged": True, "solver": "dual"}
    test = _check(tmp_path, _rows("q", 3, 0), "residual_above", limit, solves=solves)
    assert test.status is status


def test_an_interval_of_a_paired_change_covers_it():
    """Exact coverage over all outcomes of 40 queries with 10 % broken and 4 % repaired."""
    n, fell, rose = 40, 0.10, 0.04
    log = np.cumsum(np.log(np.arange(1, n + 1)))
    log = np.concatenate([[0.0], log])
    covered = total = 0.0
    for broken, repaired in product(range(n + 1), repeat=2):
        same = n - broken - repaired
        if same < 0:
            continue
        weight = log[n] - log[broken] - log[repaired] - log[same] + broken * np.log(fell)
        chance = np.exp(weight + repaired * np.log(rose) + same * np.log(1 - fell - rose))
        part = SliceDifference(None, n, 0.0, 0.0, None, None, broken, repaired)
        low, high, _ = compare_paired_accuracy(part)
        covered += chance * (low <= rose - fell <= high)
        total += chance
    assert total == pytest.approx(1.0)
    assert 0.94 < covered < 0.99


def test_mcnemars_test_is_the_binomial_tail():
    part = SliceDifference(None, 50, 0.0, 0.0, None, None, broken=7, repaired=1)
    assert compare_paired_accuracy(part)[2] == pytest.approx(2 * (1 + 8) / 2**8)
    assert compare_paired_accuracy(SliceDifference(None, 9, 1.0, 1.0, None, None))[2] == 1.0


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 5), (40, 25), (700, 610), (2000, 2000)])
def test_the_sign_test_is_the_binomial_one(first, second):
    expected = binomtest(first, first + second).pvalue
    assert compute_sign_test(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.fixture
def two_nights(tmp_path):
    """Two runs of 60 queries: 12 are broken and 2 repaired in the second."""
    train = _rows("t", 4, 0)
    before = [Row(f"q{i}", f"text {i}", correct=i < 50) for i in range(60)]
    after = [Row(f"q{i}", f"text {i}", correct=12 <= i < 52) for i in range(60)]
    store = open_store(tmp_path)
    write_run(store, "one", train, before)
    write_run(store, "two", train, after, model="other")
    return store, tmp_path


@pytest.mark.parametrize(
    ("limit", "status"), [(0.02, Status.FAIL), (0.2, Status.WARN), (0.4, Status.PASS)]
)
def test_a_fall_of_the_accuracy_is_tested_on_the_same_queries(two_nights, limit, status):
    store, folder = two_nights
    data = handmade_runs.read_run_data(store, "two", folder / "study.toml", "one")
    limits = ReportLimits(accuracy_drop_above=limit)
    test = check_limits(limits, data.summary, data.queries, data.difference)[1]
    assert "12 broken, 2 repaired" in test.measured
    assert test.value == pytest.approx(10 / 60)
    assert test.status is status


def test_a_first_night_has_no_change_to_test(tmp_path):
    test = _check(tmp_path, _rows("q", 3, 1), "accuracy_drop_above", 0.01)
    assert (test.status, test.value) == (Status.OPEN, None)


def test_failed_limits_are_alerts(two_nights):
    store, folder = two_nights

    class Study:
        report = ReportLimits(accuracy_below=0.99, leaks_above=0)
        path = folder / "study.toml"

    (breach,) = find_failed_limits(store, "two", Study)
    assert (breach.what, breach.limit) == ("report.accuracy_below", 0.99)
    assert breach.found == pytest.approx(40 / 60)
    Study.report = ReportLimits()
    assert not list(find_failed_limits(store, "two", Study))


def test_a_damaged_detection_is_logged_and_fails_no_finished_run(two_nights, caplog):
    store, folder = two_nights

    class Study:
        report = ReportLimits(accuracy_below=0.99)
        path = folder / "study.toml"

    store.write_artifact("mislabels", "a" * 64, lambda part: (part / "facts.json").write_text("{}"))
    (folder / "store" / "parts" / "mislabels" / ("a" * 64) / "facts.json").write_text("{")
    with caplog.at_level("WARNING"):
        assert not list(find_failed_limits(store, "two", Study))
    assert "limits of [report] were not tested" in caplog.text


def test_the_worst_result_of_several(tmp_path):
    data = make_run_data(tmp_path, _rows("t", 3, 0), _rows("q", 80, 20))
    limits = ReportLimits(accuracy_below=0.99, leaks_above=0)
    tests = check_limits(limits, data.summary, data.queries)
    assert find_worst_status(tests) is Status.FAIL
    assert find_worst_status(tests[2:]) is Status.PASS
    assert pl.Series([test.name for test in tests]).n_unique() == len(tests)
