"""Runs whose rows are ranked by another number than their effects, wherever a user looks."""

import handmade_runs
import polars as pl
import pytest
import tiny
from command_line import run

from storage import Store
from tasks.notebook.html import render_html
from tasks.notebook.result import AuditResult

RUN = "by-hand-1"
# Effects of five training rows on two queries, and the scales of the rows in the ranking score.
EFFECTS = [[-0.5, -0.4, 0.1, 0.3, 0.2], [0.25, -0.125, -0.375, 0.5, -0.25]]
SCALES = [0.1, 1.0, 8.0, 0.5, 2.0]
LEGEND = "score: the effect divided by a power of the training row's norm"


@pytest.fixture(params=[SCALES, None], ids=["ranking scores", "effects"])
def scales(request):
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch, scales):
    """The working directory: a study, and a store with a finished run."""
    tiny.write_study(tmp_path, top={"name": handmade_runs.STUDY})
    train = [handmade_runs.Row(f"t{i}", f"training text {i}") for i in range(5)]
    queries = [handmade_runs.Row(f"q{i}", f"query text {i}", correct=False) for i in range(2)]
    effects = {(q, t): e for q, row in enumerate(EFFECTS) for t, e in enumerate(row)}
    store = handmade_runs.open_store(tmp_path)
    handmade_runs.write_run(store, RUN, train, queries, effects, scales=scales)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def order(query, scales):
    """Names of the rows of a query, the most harmful first."""
    numbers = [e * s for e, s in zip(EFFECTS[query], scales or [1.0] * 5, strict=True)]
    return [f"t{i}" for i in sorted(range(5), key=numbers.__getitem__)]


@pytest.mark.parametrize("query", [0, 1])
def test_top_orders_rows_by_the_ranking_score(folder, scales, query):
    code, text, _ = run("top", f"q{query}", "-k", "2")
    assert code == 0
    text = "\n".join(line.strip("│ ") for line in text.splitlines())
    names = order(query, scales)
    harmful = [name for name in names if EFFECTS[query][int(name[1])] < 0]
    helpful = [name for name in reversed(names) if EFFECTS[query][int(name[1])] > 0]
    places = [text.find(f"  {name}") for name in (*harmful[:2], *helpful[:2])]
    assert -1 not in places
    assert places == sorted(places)
    assert all(f"  {name}\n" not in text for name in (*harmful[2:], *helpful[2:]))
    for name in (*harmful[:2], *helpful[:2]):
        effect = EFFECTS[query][int(name[1])]
        assert f"{effect:+.4f}" in text
        if scales:
            assert f"score {effect * scales[int(name[1])]:+.3g}" in text
    assert (LEGEND in text) == bool(scales)
    assert ("score " in text) == bool(scales)


def test_show_has_both_numbers(folder, scales):
    code, text, _ = run("show", "t2")
    assert code == 0
    assert text.index("q1") < text.index("q0"), "the larger absolute effect comes first"
    assert {"-0.3750", "+0.1000"} <= {word for word in text.split() if word[0] in "+-"}
    for score in ("score -3", "score +0.8", LEGEND):
        assert (score in text) == bool(scales)


def test_exports_and_the_notebook_have_the_column(folder, scales):
    assert run("export", "scores", "--out", "scores.csv")[0] == 0
    exported = pl.read_csv(folder / "scores.csv").sort("query", "rank")
    assert exported["train_id"].to_list() == [*order(0, scales), *order(1, scales)]
    scores = exported["ranking_score"]
    assert scores.null_count() == (0 if scales else 10)
    result = AuditResult(folder / "study.toml", RUN, Store.open(folder / "store", "by-hand", False))
    top = result.top("q1", 2)
    assert ("ranking_score" in top.columns) == bool(scales)
    names = order(1, scales)
    harmful = [name for name in names if EFFECTS[1][int(name[1])] < 0][:2]
    helpful = [name for name in reversed(names) if EFFECTS[1][int(name[1])] > 0][:2]
    assert top["train_id"].to_list() == [*harmful, *reversed(helpful)]
    assert ("ranking_score" in result.show("t2").columns) == bool(scales)
    assert result.harmful(9)["train_id"].to_list()[0] == "t1", "sums are of effects: -0.525"
    html = render_html(result.summary, (), ())
    assert (">score</th>" in html) == bool(scales)
    assert ("divided by a power of the training row" in html) == bool(scales)


def test_the_report_says_which_number_ranks(folder, scales):
    assert run("report", "--out", "page.html")[0] == 0
    page = (folder / "page.html").read_text("utf-8")
    assert ("<b>ranking score</b>" in page) == bool(scales)
    assert ("score -3<" in page) == bool(scales), "row t2 on query q1"
    case = page[page.index("query text 1</bdi></span></summary>") :]
    case = case[: case.index("</details>")]
    harmful = [name for name in order(1, scales) if EFFECTS[1][int(name[1])] < 0]
    places = [case.find(f"training text {name[1]}") for name in harmful]
    assert -1 not in places
    assert places == sorted(places)
