"""Pages of handmade runs: arbitrary names and characters, and changed second runs."""

import json
import re
from html.parser import HTMLParser

import handmade_runs
import polars as pl
import pytest
from handmade_runs import Row, fill_columns, make_run_data, rows

from storage.mislabel_schemas import MISLABELS
from storage.parquet import write_table
from tasks.report import charts
from tasks.report.formatting import escape_unprintable, make_short_names
from tasks.report.headline import make_headline
from tasks.report.mislabels import read_flagged_labels
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.report.slices import summarize_slices
from tasks.results.compare_runs import diff_runs
from tasks.results.summary import read_summary
from tasks.terminal.diff import render_difference

WORDS = ["x", None, "None", "null", "none", "all", "(all)", "total", "", " ", "(no value)", "train",
         "query", "id", "label", "removal_effect", "__all__", "a,b", 'a"b', "a\nb", "😀", "1",
         "1.0", "x" * 40, "x" * 39 + "y", "__HIVE_DEFAULT_PARTITION__", "k=v/é",
         "e\u0301"]  # fmt: skip
UNSEEN = ["\x0b", "\x00", "\x1b", "\x85", "\u2028", "\ufffe", "\uffff", "\ufdd0", "\U0001fffe"]


def test_every_value_is_a_slice_of_its_own(tmp_path):
    queries, train = rows("q", 56, WORDS, "kind"), rows("t", 56, WORDS, "source")
    data = make_run_data(tmp_path, train, queries)
    slices = summarize_slices(data)
    accuracies = {row["slice"]: (row["queries"], row["accuracy"]) for row in slices.accuracy}
    for value in accuracies:
        members = [row for row in queries if row.groups["kind"] == value]
        assert accuracies[value] == (
            len(members),
            sum(row.correct for row in members) / len(members),
        )
    assert len(accuracies) == min(24, len(WORDS))
    pairs = slices.matrix.select("source", "slice").rows()
    assert len(pairs) == len(set(pairs)) == 12 * 12
    sums = {}
    for query, row, effect in data.scores.select("query", "train", "removal_effect").rows():
        key = train[row].groups["source"], queries[query].groups["kind"]
        sums[key] = sums.get(key, 0) + effect
    for source, name, effect in slices.matrix.select("source", "slice", "effect").rows():
        assert effect == pytest.approx(sums[source, name], abs=1e-6)
    assert {row["source"] for row in slices.ranking} == set(slices.matrix["source"])
    summary = read_summary(handmade_runs.open_store(tmp_path), "one", tmp_path)
    assert len({row["slice"] for row in summary.slices}) == 8


def test_charts_never_merge_values_with_equal_short_names():
    names = make_short_names(WORDS, charts.MAX_NAME_CHARS)
    assert len(set(names.values())) == len(WORDS)
    assert names[None] == "(no value)"
    frame = pl.DataFrame({"source": WORDS, "slice": "s", "effect": 1.0, "pairs": 1})
    drawn = charts.render_effect_matrix(frame, "slice", "source")
    assert drawn.count(">+1<") == len(WORDS), "a cell each"


class Texts(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.all = []
        self.feed(html)

    def handle_data(self, data):
        self.all.append(data)


def test_no_character_of_a_row_ends_the_page(tmp_path):
    """In ids, texts, labels, sources, groups, their columns and the study's name."""
    every = "".join(UNSEEN)

    def hostile(prefix, name):
        return [
            Row(f"{prefix}{i}{every}", f"text {i} {every} word", f"{'ab'[i % 2]}{every}", i % 2 > 0,
                groups={f"{name}{every}".replace("\0", ""): f"{i % 3}{every}"})
            for i in range(20)
        ]  # fmt: skip

    data = make_run_data(tmp_path, hostile("t", "source"), hostile("q", "kind"))
    page = build_page(data)
    html = render_page(page)
    html.encode()
    assert html.count("<svg") >= 2
    assert not [character for character in UNSEEN if character in html]
    assert "⟨U+000B⟩" in html
    assert "⟨U+FFFE⟩" in html
    assert Texts(html).all
    assert escape_unprintable("\ud800") == "⟨U+D800⟩"


def mislabels(store, data, margins):
    """A search as in the store, with a signal that is null for some rows."""
    table = [
        {"train": i, "rank": i, "id": row["id"], "text": row["text"], "text_pair": None,
         "label": row["label"], "suggested": "b", "reviewed": None, "trained_margin": margin,
         "agreeing": None, "conflicting": None, "cluster": i}
        for i, (row, margin) in enumerate(zip(data.train.to_dicts(), margins, strict=True))
    ]  # fmt: skip
    facts = {"created": "2026-01-01", "procedure": 1, "rows": len(table), "trusted": 0}
    facts |= {"errors": {"expected": 3.0, "low": 1.0, "high": 5.0}, "drawn": None, "budget": 20}
    facts |= {"recall": {"planted": 40, "budget": 20, "any": 0.9, "confusable": 0.5}}

    def write(folder):
        write_table(folder, "mislabels", fill_columns(MISLABELS, table))
        (folder / "facts.json").write_text(json.dumps(facts))

    store.write_artifact("mislabels", "ab" * 32, write)


def test_a_row_added_after_training_has_no_bar_for_training_signals(tmp_path):
    """An ordinary second run: training signals are null for rows added after training."""
    data = make_run_data(tmp_path, rows("t", 12, ["x"], "s"), rows("q", 12, ["x"], "s"))
    margins = [None, *(float(i) for i in range(10)), None]
    mislabels(handmade_runs.open_store(tmp_path), data, margins)
    data = read_run_data(handmade_runs.open_store(tmp_path), "one", tmp_path / "study.toml")
    bars = {
        row["train"]: dict(row["bars"])["trained_margin"] for row in read_flagged_labels(data).rows
    }
    assert [bars[0], bars[11]] == [None, None]
    assert [bars[i] for i in range(1, 11)] == pytest.approx([i / 10 for i in range(1, 11)])
    html = render_page(build_page(data))
    assert "area under the margin (fine-tuning) not measured" in html
    assert html.count('<input type="checkbox"') == 12


def test_the_lowest_slice_is_significantly_lower(tmp_path):
    """One wrong query of one is not significant; 60 wrong of 100 are."""

    def make_queries(name, right, count):
        return [
            Row(f"{name}{i}", f"{name} text {i}", correct=i < right, groups={"kind": name})
            for i in range(count)
        ]

    train = rows("t", 12, ["x"], "s")
    sure = [
        *make_queries("tiny", 0, 1),
        *make_queries("low", 40, 100),
        *make_queries("fine", 95, 100),
    ]
    data = make_run_data(tmp_path / "a", train, sure, effects={(0, 0): -1.0})
    text = make_headline(data, summarize_slices(data), None, [])[0]
    assert "lowest is kind low with 40.0% of 100 queries (95 % interval 31% to 50%)" in text
    even = [
        *make_queries("tiny", 0, 1),
        *make_queries("some", 80, 100),
        *make_queries("fine", 82, 100),
    ]
    data = make_run_data(tmp_path / "b", train, even, effects={(0, 0): -1.0})
    assert (
        "no kind is significantly lower" in make_headline(data, summarize_slices(data), None, [])[0]
    )


def test_a_second_run_with_other_groups_labels_and_rows(tmp_path):
    """Another group column, an inserted first row, row numbers as ids, an additional class."""
    store = handmade_runs.open_store(tmp_path)
    train, queries = rows("t", 20, ["x", None], "source"), rows("q", 20, ["x", "y"], "kind")
    for table in (train, queries):
        for number, row in enumerate(table):
            row.id = f"{number + 1}"
    handmade_runs.write_run(store, "one", train, queries)
    later = [
        [Row("1", "something new", "c"), *(Row(f"{i + 2}", r.text, r.label, r.correct, groups={
            "region": "here"}) for i, r in enumerate(table))]
        for table in (train, queries)
    ]  # fmt: skip
    effects = {(q + 1, t + 1): e for (q, t), e in old_effects(20).items()}
    handmade_runs.write_run(store, "two", *later, effects=effects)
    comparison = diff_runs(store, "one", "two")
    assert comparison.rows.is_empty(), "no old row has another effect"
    assert [(part.value, part.queries) for part in comparison.slices] == [("here", 20)]
    notes = " ".join(comparison.notes)
    assert "Training rows are matched by content: 20 the same, 1 new." in notes
    assert "The groups of the queries changed from kind to region." in notes
    assert render_difference(comparison, "one", "two")
    html = render_page(build_page(read_run_data(store, "two", tmp_path / "study.toml")))
    assert "compared with one" in html
    assert re.search(r"changed from kind to region", html)


def test_runs_without_a_common_query_have_no_changed_rows(tmp_path):
    """The counts are unknown, not zero."""
    store = handmade_runs.open_store(tmp_path)
    train = rows("t", 20, ["x"], "source")
    for name, prefix in (("one", "q"), ("two", "other")):
        handmade_runs.write_run(store, name, train, rows(prefix, 20, ["x"], "kind"))
    comparison = diff_runs(store, "one", "two")
    assert (comparison.rows, comparison.overall, comparison.slices) == (None, None, ())
    assert "no query in common" in " ".join(comparison.notes)
    assert render_difference(comparison, "one", "two")


def old_effects(count):
    return {(q, t): 0.01 * ((7 * t + 3 * q) % 11 - 5.5) for q in range(count) for t in range(count)}


def test_a_slice_called_all_is_not_the_total(tmp_path):
    store = handmade_runs.open_store(tmp_path)
    queries = rows("q", 24, ["all", "None", None], "kind")
    for name in ("one", "two"):
        handmade_runs.write_run(store, name, rows("t", 12, ["x"], "s"), queries)
    comparison = diff_runs(store, "one", "two")
    assert comparison.overall.queries == 24
    assert [(part.value, part.queries) for part in comparison.slices] == [
        ("None", 8), ("all", 8), (None, 8),
    ]  # fmt: skip
