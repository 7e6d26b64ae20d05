"""The page of the last runs: numbers, points, lines and gaps of handmade runs, by hand."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from handmade_runs import STUDY, Row, open_store, write_detection, write_run

from fastif import InputError
from tasks.report.history import METRICS, read_history
from tasks.report.history_charts import render_chart
from tasks.report.history_page import render_history, write_history
from tasks.report.report_marks import HISTORY_TITLE
from tasks.study.report_section import ReportLimits

ACCURACY, SLICE, RECALL, RESIDUAL, LABELS, LEAKS = METRICS


def make_rows(right, wrong, **groups):
    return [
        Row(f"q{i}", f"q text {i}", correct=i < right, groups=groups) for i in range(right + wrong)
    ]


@pytest.fixture
def store(tmp_path):
    """Four nights: the second has no groups, the third other settings and queries; one leaks."""
    store, train = open_store(tmp_path), [Row(f"t{i}", f"t text {i}") for i in range(3)]
    recall = [{"at": 10, "share": 0.9, "low": 0.8, "high": 0.95, "queries": 40}]
    write_run(store, "one", train, make_rows(10, 10, kind="<b>"), recall=recall, solver="dual",
              query_digest="a")  # fmt: skip
    write_run(store, "two", train, make_rows(12, 8), recall=recall, solver="dual", query_digest="a")
    write_run(store, "three", train, make_rows(16, 4, kind="x"), solver="cg", query_digest="b")
    leaks = [*train, Row("leak", "q text 0")]
    write_run(store, "four", leaks, make_rows(16, 4, kind="x"), solver="cg",
              query_digest="b",
              solves={"residual": 0.25, "converged": True, "solver": "cg"})  # fmt: skip
    return store


def test_numbers_are_those_of_each_run(store):
    runs = read_history(store, 10)
    assert [run.run for run in runs] == ["one", "two", "three", "four"]
    values = {
        metric.name: [run.numbers[metric.key] and run.numbers[metric.key].value for run in runs]
        for metric in METRICS
    }
    assert values["accuracy"] == [0.5, 0.6, 0.8, 0.8]
    assert values["worst slice"] == [0.5, None, 0.8, 0.8]
    assert values["recall of candidates"] == [0.9, 0.9, None, None]
    assert values["largest residual"][3] == 0.25
    assert values["wrong labels"] == [None] * 4
    assert values["leaks"] == [0, 0, 0, 1]
    assert [run.is_comparable for run in runs] == [False, True, False, True]
    assert [run.run for run in read_history(store, 2)] == ["three", "four"]
    store.withdraw("three", ["finish"])
    assert [run.run for run in read_history(store, 2)] == ["two", "four"]


def circles(svg):
    places = re.findall(r'<circle class="([^"]*)" cx="([\d.]+)" cy="([\d.]+)"', svg)
    return [(kind, float(x), float(y)) for kind, x, y in places]


def test_points_are_in_proportion_and_lines_have_gaps(store):
    """Accuracies 0.5, 0.6, 0.8, 0.8; the third night has other queries than the second."""
    runs = read_history(store, 10)
    svg = render_chart(ACCURACY, runs, 0.55)
    points = circles(svg)
    assert [kind for kind, _, _ in points] == ["point broken", "point", "point", "point"]
    ys = [y for _, _, y in points]
    assert ys[1] - ys[2] == pytest.approx(2 * (ys[0] - ys[1]), abs=0.3)
    assert ys[2] == ys[3]
    (limit,) = re.findall(r'class="limit" d="M\d+ ([\d.]+)H', svg)
    assert float(limit) == pytest.approx((ys[0] + ys[1]) / 2, abs=0.1)
    xs = [x for _, x, _ in points]
    steps = [after - before for before, after in pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.3)
    assert svg.count('class="line"') == 2
    assert re.findall(r'class="gap" d="M([\d.]+) ', svg) == [f"{(xs[1] + xs[2]) / 2:.1f}"]
    assert "not comparable: the query set changed" in svg
    assert svg.count('class="interval"') == 4
    assert len(circles(render_chart(SLICE, runs, None))) == 3
    assert render_chart(SLICE, runs, None).count('class="line"') == 1
    assert len(circles(render_chart(RECALL, runs, 0.8))) == 2
    assert render_chart(LABELS, runs, 0.1) == ""


def test_each_number_has_its_own_breaks(tmp_path):
    """Other rows break nothing, another solver or estimator the numbers of effects alone."""
    store, train = open_store(tmp_path), [Row(f"t{i}", f"t text {i}") for i in range(3)]
    chosen = {"estimator": {"estimator": {"kind": "through the training", "models": [0]}}}
    nights = {"one": {}, "rows": {}, "solver": {"solver": "cg"}, "labels": {"labels": ["c"]},
              "estimator": {"curvature": chosen}, "queries": {"query_digest": "b"}}  # fmt: skip
    given = {"query_digest": "a", "solver": "dual", "labels": ["a"]}
    for name, more in nights.items():
        given |= more
        write_run(store, name, train, make_rows(3, 1), **given)
    broken = {
        metric.name: [run.run for run in read_history(store, 10) if run.find_break(metric)]
        for metric in METRICS
    }
    assert broken["accuracy"] == broken["worst slice"] == ["labels", "queries"]
    effects = ["solver", "labels", "estimator", "queries"]
    assert broken["recall of candidates"] == broken["largest residual"] == effects
    assert broken["leaks"] == ["queries"]
    assert broken["wrong labels"] == ["labels"], "no search, so no other procedure"


def test_another_procedure_of_the_search_is_a_break(tmp_path):
    store = open_store(tmp_path)
    for number, procedure in enumerate((3, 3, 4), 1):
        train = [Row(f"t{i}", f"text {number} {i}") for i in range(3)]
        write_run(store, f"run{number}", train, make_rows(3, 1), query_digest="a")
        errors = {"expected": 1.0, "low": 0.0, "high": 2.0, "counted": 3}
        write_detection(store, train, [0.9] * 3, number, procedure=procedure,
                        counted_by="random sample", errors=errors)  # fmt: skip
    runs = read_history(store, 10)
    assert [run.numbers[LABELS.key].value for run in runs] == [1 / 3] * 3
    assert [bool(run.find_break(LABELS)) for run in runs] == [False, False, True]
    assert render_chart(LABELS, runs, None).count('class="line"') == 1


@pytest.mark.parametrize("metric", [ACCURACY, LEAKS, RESIDUAL])
def test_one_run_is_one_point(store, metric):
    (run,) = read_history(store, 1)
    svg = render_chart(metric, [run], None)
    assert len(circles(svg)) == 1
    assert "line" not in re.findall(r'class="(\w+)"', svg)
    assert "nan" not in svg


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.names, self.rows = [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        assert not dict(attrs).get("href", "").startswith("http")


def test_the_page_is_complete_without_script_and_texts_are_no_markup(store):
    html = render_history(STUDY, read_history(store, 10), ReportLimits(accuracy_below=0.7))
    tags = Tags(html).names
    assert {"script", "link", "img", "b"} & set(tags) == set()
    assert tags.count("svg") == 5, "wrong labels were not measured"
    assert tags.count("tr") == 1 + 4
    assert "Not measured in any of these runs." in html
    assert "&lt;b&gt;: 50.0%" in html
    assert "Limit: at least 70 %." in html
    assert "prefers-color-scheme: dark" in html
    assert "first run" in html
    assert "the query set changed" in html


def test_only_a_page_of_this_kind_is_replaced(store, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        f'name = "{STUDY}"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n'
    )
    path = write_history(study, 3)
    assert path == tmp_path / "reports" / "history.html"
    assert HISTORY_TITLE in path.read_text()
    assert write_history(study, 3) == path
    path.write_text("<!doctype html><title>Data quality of one</title>")
    with pytest.raises(InputError, match="other contents"):
        write_history(study, 3)


def test_a_store_without_finished_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="a finished run"):
        read_history(open_store(tmp_path), 5)
