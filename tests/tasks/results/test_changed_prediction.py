"""Predictions that differ between two runs, and the rows that support them; truths by hand."""

import json
from dataclasses import replace

import pytest
from handmade_runs import Row, open_store, write_run
from rich.console import Console

from storage.matching import match_rows
from tasks.report.build import ReportRequest, build_report
from tasks.results.changed_prediction import SupportingRow
from tasks.results.changes_record import make_changes_record
from tasks.results.compare_runs import diff_runs
from tasks.terminal.diff import render_difference

NEW = Row("new", "another text", "b")
TRAIN = [Row(f"t{i}", f"training text {i}", "ab"[i % 2]) for i in range(4)]
EFFECTS = [0.5, -0.25, 0.125, -0.0625]
"""Effects of the four rows on every query, representable in single precision."""


def ask(predictions, labels):
    return [
        Row(f"q{i}", f"query {i}", label, correct=label == prediction, prediction=prediction)
        for i, (prediction, label) in enumerate(zip(predictions, labels, strict=True))
    ]


@pytest.fixture
def store(tmp_path):
    """Two models, asked the same four queries: without label, without label, `a` and `b`."""
    store, labels = open_store(tmp_path), [None, None, "a", "b"]
    for run, predictions, factor in (("one", "aaaa", 1), ("two", "abbb", -1)):
        effects = {(q, t): factor * effect for q in range(4) for t, effect in enumerate(EFFECTS)}
        write_run(store, run, TRAIN, ask(predictions, labels), effects, tables="same", model=run)
    return store


def test_changed_predictions_have_their_support_in_each_run(store):
    changes = diff_runs(store, "one", "two").predictions
    assert (changes.count, changes.common) == (3, 4)
    first, right, wrong = changes.predictions
    assert (first.id, first.label, first.before, first.after) == ("q1", None, "a", "b")
    helpful = (SupportingRow("t0", "a", 0.5), SupportingRow("t2", "a", 0.125))
    assert first.support_before == helpful
    assert first.support_after == (SupportingRow("t1", "b", 0.25), SupportingRow("t3", "b", 0.0625))
    # right before: helpful rows support `a`; wrong now: rows that harm the loss at `a` support `b`
    assert right.support_before == helpful
    assert right.support_after == (SupportingRow("t0", "a", -0.5), SupportingRow("t2", "a", -0.125))
    assert wrong.support_before == (
        SupportingRow("t1", "b", -0.25),
        SupportingRow("t3", "b", -0.0625),
    )


def test_the_comparison_counts_queries_without_labels(store):
    difference = diff_runs(store, "one", "two")
    assert difference.common_queries == 4
    assert difference.overall.queries == 2
    assert not [note for note in difference.notes if "no query in common" in note]
    record = json.loads(json.dumps(make_changes_record(difference)))
    assert [each["id"] for each in record["predictions"]["predictions"]] == ["q1", "q2", "q3"]


def test_terminal_and_page_list_them(store, tmp_path):
    console = Console(width=100, record=True, color_system=None)
    console.print(render_difference(diff_runs(store, "one", "two"), "one", "two"))
    text = " ".join(console.export_text().replace("│", " ").split())
    assert "predictions that changed: 3 of 4" in text
    assert "q1: a → b, no label a was supported by t0 a (+0.5000), t2 a (+0.1250)" in text
    (tmp_path / "study.toml").write_text(
        'name = "by-hand"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n'
    )
    build_report.fn(ReportRequest(str(tmp_path / "study.toml"), "two", "one", format="html"))
    page = (tmp_path / "reports" / "two.html").read_text()
    assert "Predictions that changed: 3 of 4" in page


def test_queries_that_got_labels_are_not_the_same_queries(tmp_path):
    store = open_store(tmp_path)
    write_run(store, "one", TRAIN, ask("aab", [None] * 3))
    write_run(store, "two", TRAIN, ask("aab", ["a", "a", "b"]))
    tables = [store.scan("queries", run) for run in ("one", "two")]
    matching = match_rows(*tables, "query")
    assert matching.renamed == {}
    assert set(matching.pairs["how"]) == {"relabelled"}
    difference = diff_runs(store, "one", "two")
    assert difference.predictions is None
    assert [note for note in difference.notes if "no query in common" in note]


def test_effects_on_the_entropy_support_no_label(tmp_path):
    store = open_store(tmp_path)
    for run, prediction in (("one", "a"), ("two", "b")):
        (query,) = ask(prediction, [None])
        write_run(store, run, TRAIN, [replace(query, measure="entropy")])
    (changed,) = diff_runs(store, "one", "two").predictions.predictions
    assert (changed.before, changed.after) == ("a", "b")
    assert changed.support_before == changed.support_after == ()


def test_changed_rows_are_behind_changes_of_the_loss_alone(tmp_path):
    """Effects on the margin are of the predicted label, another one in each run."""
    for measure, count in (("loss", 1), ("margin", 0)):
        store = open_store(tmp_path / measure)
        for run, prediction, train in (("one", "a", TRAIN), ("two", "b", [*TRAIN, NEW])):
            (query,) = ask(prediction, ["a"])
            effects = {(0, t): effect for t, effect in enumerate([*EFFECTS, -0.75][: len(train)])}
            write_run(store, run, train, [replace(query, measure=measure)], effects)
        changes = diff_runs(store, "one", "two").queries
        (broken,) = changes.broken
        assert [row.id for row in broken.rows] == ["new"][:count]
        assert any("effects on the loss" in note for note in changes.notes) == (not count)
