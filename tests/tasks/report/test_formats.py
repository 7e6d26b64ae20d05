"""A report as JSON and as Markdown: the findings of the page, without texts of examples."""

import json

import pytest
from handmade_runs import STUDY, Row, open_store, write_run

from fastif import InputError
from tasks.report.build import ReportRequest, build_report

SECRET = "secretword"
TRAIN = [
    *(Row(f"t{i}", f"{SECRET} t word{i} and {i}", "ab"[i % 2]) for i in range(20)),
    Row("twin", f"{SECRET} t word4 and 4", "b"),
    Row("leak", f"{SECRET} q word0 and 0", "a"),
]
QUERIES = [
    Row(f"q{i}", f"{SECRET} q word{i} and {i}", "a", i % 3 > 0, groups={"kind": "x|y <b>"})
    for i in range(30)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs with a leak, a contradiction, 20 of 30 right queries and no search for labels."""
    folder = tmp_path_factory.mktemp("formats")
    store = open_store(folder)
    write_run(store, "one", TRAIN, QUERIES)
    write_run(store, "two", TRAIN, QUERIES, model="other")
    (folder / "study.toml").write_text(
        f'name = "{STUDY}"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n[report]\naccuracy_below = 0.99\n'
    )
    return folder


def build(folder, **options):
    return build_report.fn(ReportRequest(str(folder / "study.toml"), "two", **options))


def test_json_has_the_findings_of_the_page(folder):
    page = build(folder, format="json")
    record = json.loads((folder / "reports" / "two.json").read_text())
    assert (record["run"], record["compared_with"], record["result"]) == ("two", "one", "fail")
    counts = {"queries": 30, "training_rows": 22, "leaked_queries": 1, "contradictions": 1}
    assert record["counts"] == counts
    assert record["labels"]["sentence"] == "Labels were not checked."
    assert record["flip_recall"] is None
    accuracy = record["tests"][0]
    assert (accuracy["key"], accuracy["status"]) == ("accuracy_below", "fail")
    assert (accuracy["limit"], accuracy["value"]) == (0.99, 20 / 30)
    worst = record["worst_slice"]
    assert (worst["value"], worst["queries"], worst["accuracy"]) == ("x|y <b>", 30, 20 / 30)
    assert [action["what"] for action in record["actions"]] == [a.what for a in page.actions]
    assert set(record["actions"][0]) == {"what", "why", "anchor", "command"}
    assert record["headline"] == page.headline
    assert {row["check"] for row in record["reliability"]} >= {"recall", "query leakage"}


def test_markdown_has_the_same_findings_and_no_markup_of_the_data(folder):
    page = build(folder, format="md")
    text = (folder / "reports" / "two.md").read_text()
    assert text.startswith("# Data quality, run two\n\nCompared with run one.\n")
    assert f"1. {page.actions[0].what}: {page.actions[0].why}. `{page.actions[0].command}`" in text
    assert r"| FAIL | accuracy | 66.7% (" in text
    assert r"x\|y \<b>, 66.7% of 30 queries |" in text
    assert "<b>" not in text.replace(r"\<b>", "")
    assert "| wrong labels | not searched |" in text


@pytest.mark.parametrize("kind", ["json", "md"])
def test_no_text_of_an_example_is_in_it(folder, tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    build(folder, out=str(path))
    assert SECRET not in path.read_text()
    html = tmp_path / "x.html"
    build(folder, out=str(html))
    assert SECRET in html.read_text()


@pytest.mark.parametrize(("kind", "other"), [("json", "md"), ("md", "html"), ("html", "json")])
def test_a_format_and_another_suffix_are_refused(folder, tmp_path, kind, other):
    with pytest.raises(InputError, match=f"ends in .{kind}"):
        build(folder, out=str(tmp_path / f"x.{other}"), format=kind)
    with pytest.raises(InputError, match=r"\.html, \.md or \.json"):
        build(folder, out=str(tmp_path / "x.txt"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["json", "md"])
def test_only_a_report_of_the_same_format_is_replaced(folder, tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    for _ in range(2):
        build(folder, out=str(path))
    path.write_text('{"a": 1}' if kind == "json" else "# Notes\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="other contents"):
        build(folder, out=str(path))
    assert path.read_bytes() == before
    (folder / "reports").mkdir(exist_ok=True)
    default = folder / "reports" / f"one.{kind}"
    default.write_bytes(before)
    with pytest.raises(InputError, match="other contents"):
        build_report.fn(ReportRequest(str(folder / "study.toml"), "one", format=kind))
    assert default.read_bytes() == before
