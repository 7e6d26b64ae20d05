"""The report of a study of labels alone: what there is, nothing of effects, limits, and nights."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run, run_refused

from storage import StoreError
from tasks.data.inputs import read_inputs
from tasks.data.tabular import Measurements
from tasks.report.build import ReportRequest, build_report
from tasks.report.label_data import LabelData, read_label_data
from tasks.report.labels_page import build_labels_page
from tasks.report.page import render_page
from tasks.run.spec import open_existing_store
from tasks.study.report_section import ReportLimits
from tasks.study.study import load_study

sys.path.insert(0, str(Path(__file__).parent))
from handmade_detections import Labelled, write_detection, write_study

HOSTILE = "\"><script>window.hit = 1</script><img src=x onerror='hit()'> \u202e"
ROWS = [
    *(
        Labelled(f"r{i}", f"a text number {i} of word{i % 7}", "abc"[i % 3],
                 "abc"[(i + 1 + i % 2) % 3], max(0.0, 0.93 - i / 20), "xy"[i % 2])
        for i in range(40)
    ),
    Labelled("twin", "A text, number 3 of word3", "b", "a", 0.0),
    Labelled("empty", "!!! ...", "c", "a", 0.0),
]  # fmt: skip
QUERIES = [("a text number 5 of word5", "c"), ("something else", "a"), ("another one", "b")]


def read_page(study: Path, limits: ReportLimits | None = None):
    store = open_existing_store(load_study(study))
    return build_labels_page(read_label_data(store, read_inputs(study)), limits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "world"
    write_study(folder, ROWS, QUERIES)
    write_detection(folder, ROWS, 3)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return read_page(folder / "study.toml")


class Outline(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.sections, self.links, self.tags, self.classes = [], [], Counter(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags[tag] += 1
        if tag == "h2":
            self.sections.append(values["id"])
        if tag == "a" and re.fullmatch(r"#\w+", values.get("href", "")):
            self.links.append(values["href"][1:])


def test_the_page_has_the_sections_of_labels_and_leads_to_no_other(page):
    html = render_page(page)
    outline = Outline(html)
    assert outline.sections == ["now", "suspects", "quality", "trust"]
    assert set(outline.links) <= {*outline.sections, "main"}
    visible = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    for word in (
        "removal effect",
        "harms queries, nats</th>",
        "Influence",
        "influence map",
        "slice",
        "None",
        "Cost",
    ):
        assert word not in visible, word
    assert "detection 3 of the store" in html
    assert "Suspicious labels by source" in html
    assert 'id="start-review"' in html


def test_certain_findings_come_first(page):
    """One leak, one contradiction, one empty row, and 42 rows in the ranking less the twin."""
    assert [action.anchor for action in page.actions] == ["quality"] * 3 + ["suspects"]
    findings = [action.what for action in page.actions]
    assert findings[:2] == [
        "1 query is a training row",
        "1 group of identical rows has different labels",
    ]
    assert findings[2] == "1 training row has a text without a letter or digit"
    assert page.actions[0].command.startswith("fastif review apply --drop-leaks")
    assert [row["train_id"] for row in page.duplicates.leaks] == ["r5"]
    assert {row["id"] for row in page.duplicates.groups[0]} == {"r3", "twin"}
    assert [row["label"] for row in page.quality.labels] == ["a", "b", "c"]
    assert {row["label"]: row["count"] for row in page.quality.labels} == Counter(
        row.label for row in ROWS
    )


def test_pairs_of_labels_are_those_of_the_listed_rows(page):
    planted = Counter((row["label"], row["suggested"]) for row in page.flagged.rows)
    cells = [cell for row in page.flagged.suggestions.rows for cell in row if cell.count]
    assert {(cell.row, cell.column): cell.count for cell in cells} == planted


def test_limits_that_take_an_audit_are_not_measured(folder):
    limits = ReportLimits(accuracy_below=0.9, recall_below=0.5, leaks_above=0)
    tests = read_page(folder / "study.toml", limits).tests
    assert {test.key: str(test.status) for test in tests} == {
        "wrong_labels_above": "not tested",
        "leaks_above": "fail",
        "accuracy_below": "warn",
        "recall_below": "warn",
    }
    measured = {test.key: test.measured for test in tests}
    assert measured["accuracy_below"] == "not measured: it takes an audit"
    assert measured["leaks_above"] == "1 of 3 queries are training rows"


def test_a_counted_share_of_wrong_labels_is_tested(tmp_path):
    """An estimate of 10 to 14 of 42 wrong labels is above 20 %, and not surely above 30 %."""
    study = write_study(tmp_path / "w", ROWS)
    errors = {"expected": 12.0, "low": 10.0, "high": 14.0, "counted": 42}
    drawn = {"rows": 40, "wrong": 11, "enough": True, "later": 0, "population": 42}
    write_detection(study.parent, ROWS, errors=errors, counted_by="random sample", drawn=drawn)
    for limit, status in ((0.2, "fail"), (0.3, "warn"), (0.4, "pass")):
        tests = read_page(study, ReportLimits(wrong_labels_above=limit, leaks_above=0)).tests
        assert str(tests[0].status) == status
        assert (tests[1].key, str(tests[1].status)) == ("leaks_above", "warn")
        assert "queries" in tests[1].measured
    assert "About 12 of 42 labels are wrong" in read_page(study).headline[0]


def test_json_and_markdown_have_the_findings(folder):
    study = str(folder / "study.toml")
    built = build_report.fn(ReportRequest(study, format="json"))
    record = json.loads(Path(built.path).read_text())
    assert Path(built.path).name == "labels-3.json"
    assert (record["run"], record["detection"]) == (None, "labels-3")
    assert record["counts"] == {
        "queries": 3, "training_rows": 42, "leaked_queries": 1, "contradictions": 1,
    }  # fmt: skip
    assert record["worst_slice"] is None
    text = Path(build_report.fn(ReportRequest(study, format="md")).path).read_text()
    assert text.startswith("# Data quality, labels-3\n")
    for kind in ("json", "md", "html"):
        build_report.fn(ReportRequest(study, format=kind))  # an earlier report is replaced
    assert "a text number" not in text + json.dumps(record)


def test_a_second_night_is_another_page_and_changed_rows_are_refused(tmp_path):
    study = write_study(tmp_path / "w", ROWS)
    write_detection(study.parent, ROWS, 1)
    assert Path(build_report.fn(ReportRequest(str(study))).path).name == "labels-1.html"
    changed = [replace(ROWS[0], label="c"), *ROWS[2:], Labelled("new", "a new text", "a", "b", 0.9)]
    write_study(tmp_path / "w", changed)
    with pytest.raises(StoreError, match="labels or its ids have changed since"):
        build_report.fn(ReportRequest(str(study)))
    write_detection(study.parent, changed, 2)
    assert Path(build_report.fn(ReportRequest(str(study))).path).name == "labels-2.html"
    assert len(list((tmp_path / "w" / "reports").iterdir())) == 2
    write_study(tmp_path / "w", ROWS)  # what was changed is undone
    assert Path(build_report.fn(ReportRequest(str(study))).path).name == "labels-1.html"


def test_rows_of_the_first_places_that_are_new_are_marked(tmp_path):
    """An earlier detection of the same rows by the same procedure had them all in its list."""
    study = write_study(tmp_path / "w", ROWS)
    write_detection(study.parent, ROWS, 1)
    write_detection(study.parent, ROWS, 2)
    flagged = read_page(study).flagged
    assert flagged.has_previous
    assert not any(row["new"] for row in flagged.rows)


def test_a_detection_of_an_early_version_is_read(tmp_path):
    """It has no number, and lacks columns and facts of later versions."""
    study = write_study(tmp_path / "w", ROWS)
    write_detection(study.parent, ROWS, None)
    place = next((tmp_path / "w" / "store").rglob("mislabels.parquet"))
    assert "drawn" in json.loads((place.parent / "facts.json").read_text())
    assert Path(build_report.fn(ReportRequest(str(study))).path).name == "labels-0.html"


def test_hostile_texts_are_inert(tmp_path):
    rows = [replace(row, text=f"{row.text} {HOSTILE}", id=f"{row.id}{HOSTILE}") for row in ROWS]
    study = write_study(tmp_path / "w", rows, [(f"q {HOSTILE}", "a")])
    write_detection(study.parent, rows)
    html = render_page(read_page(study))
    tags = Outline(html).tags
    assert (tags["script"], tags["img"]) == (1, 0)
    assert "\u202e" not in html


def make_measured(values: list[str], labels: list[str], page, **kinds) -> LabelData:
    """Rows of a table or images whose descriptions are these values."""
    count = len(values)
    train = pl.DataFrame(
        {"train": range(count), "id": [f"{i}" for i in range(count)], "text": values,
         "text_pair": [None] * count, "label": labels},
        schema_overrides={"train": pl.UInt32, "text_pair": pl.String},
    )  # fmt: skip
    numbers = np.arange(3.0 * count).reshape(count, 3) % 7
    measured = Measurements(numbers, [], **{"image": False} | kinds)
    result = page.data.mislabel_results[0]
    result = replace(result, table=result.table.head(count))
    queries = train.rename({"train": "query"}).head(0)
    return LabelData("labels-1", "study.toml", queries, train, (result,), (measured,))


def test_values_of_a_table_are_compared_as_they_are(page):
    """A sign counts; rows of equal values may well be of different classes."""
    values = ["x=1", "x=-1", "x=1", "x=2", "x=3", "x=4"]
    page = build_labels_page(make_measured(values, ["a", "b", "b", "a", "b", "a"], page))
    assert (page.duplicates.exact, page.duplicates.conflicting, page.duplicates.near) == (1, 1, 0)
    assert all("identical rows" not in action.what for action in page.actions)
    html = render_page(page)
    assert "the columns need not say all about the class" in html
    assert "letter or digit" not in html


def test_equal_images_of_several_labels_are_found(page):
    values = ["image 1", "image 1", "image 2", "image 3", "image 4", "image 5"]
    labels = ["a", "b", "b", "a", "b", "a"]
    whole = build_labels_page(make_measured(values, labels, page, image=True))
    assert whole.duplicates.conflicting == 1
    assert whole.actions[0].what == "1 group of identical rows has different labels"


def test_the_command_ends_with_the_code_of_the_limits(tmp_path, monkeypatch):
    write_study(tmp_path, ROWS, QUERIES, "accuracy_below = 0.9")
    monkeypatch.chdir(tmp_path)
    assert "fastif mislabels" in run_refused(tmp_path, "report")
    write_detection(tmp_path, ROWS)
    code, text, _ = run("report", "--fail-on", "warn")
    assert code == 5
    assert "WARN: accuracy not measured: it takes an audit; limit: at least 90 %" in text
    assert f"Report: {tmp_path}/reports/labels-1.html" in text
    assert text.endswith("Next: fastif review export --out review.csv\n")
    assert run("report", "--fail-on", "fail")[0] == 0
    assert run("report", "--out", "x.md")[0] == 0
    assert "--price" in run_refused(tmp_path, "report", "--price", "2")
    assert "no runs" in run_refused(tmp_path, "report", "one")
    assert "has no runs" in run_refused(tmp_path, "report", "--last", "3")
    (tmp_path / "y.md").write_text("# Data quality, my notes\n")
    assert "another" in run_refused(tmp_path, "report", "--out", "y.md")
    write_detection(tmp_path, ROWS, 2, informed=False)
    suggested = "Next: fastif review export --random 100 --out random.csv\n"
    assert run("report")[1].endswith(suggested), "an order by chance is not to be reviewed"
