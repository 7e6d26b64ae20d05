"""What to do now: certain findings first, at most five, each with its section and its command."""

import re

import pytest
from handmade_runs import Row, make_run_data, open_store, read_run_data, write_run

from tasks.report.actions import MAX_ACTIONS
from tasks.report.page import build_page, render_page


def _make_rows(prefix, count, **options):
    return [Row(f"{prefix}{i}", f"{prefix} word{i} and {i}", "ab"[i % 2], **options)
            for i in range(count)]  # fmt: skip


def _build(folder, train, queries, **given):
    return build_page(make_run_data(folder, train, queries, **given))


@pytest.fixture
def faulty(tmp_path):
    """Two leaks, a contradiction, an empty row, unsearched labels, and an unmeasured recall."""
    queries = _make_rows("q", 30)
    train = [
        *_make_rows("t", 30),
        *(Row(f"c{i}", queries[i].text, queries[i].label) for i in range(2)),
        Row("twin", "t word4 and 4", "b"),
        Row("empty", "...", "a"),
    ]
    return make_run_data(tmp_path, train, queries)


def test_certain_findings_come_first(faulty):
    actions = build_page(faulty).actions
    starts = [
        "2 queries are training rows",
        "1 group of identical rows has different labels",
        "1 training row has a text without a letter or digit",
        "Labels were not checked",
        "Inconclusive: recall",
    ]
    assert [action.what for action in actions] == starts
    assert len(actions) == MAX_ACTIONS
    commands = [action.command for action in actions]
    assert commands[0].startswith("fastif review apply --drop-leaks")
    assert commands[1].startswith("fastif review export --out review.csv")
    assert commands[3].startswith("fastif mislabels")


def test_every_action_links_to_a_section_of_the_page(faulty):
    page = build_page(faulty)
    html = render_page(page)
    (block,) = re.findall(r'<ol class="actions">.*?</ol>', html, re.S)
    anchors = re.findall(r'href="#([^"]+)"', block)
    assert anchors == [action.anchor for action in page.actions]
    assert all(f'id="{anchor}"' in html for anchor in anchors)
    assert html.index('class="actions"') < html.index('class="headline"')


def test_no_text_or_id_of_an_example_is_in_an_action(faulty):
    lines = " ".join(map(str, build_page(faulty).actions))
    assert "word" not in lines
    assert "twin" not in lines


def test_a_clean_run_has_only_the_labels_to_check(tmp_path):
    recall = [{"at": at, "share": 1.0, "low": 0.97, "high": 1.0, "queries": 90} for at in (10, 100)]
    page = _build(tmp_path, _make_rows("t", 30), _make_rows("q", 30), recall=recall)
    assert [action.what for action in page.actions] == ["Labels were not checked"]


def _write_two_nights(folder, broken):
    """Slice a loses `broken` of 40 right predictions, slice b none."""
    store, train = open_store(folder), _make_rows("t", 12)
    for run, lost in (("one", 0), ("two", broken)):
        queries = [
            Row(f"q{i}", f"query {i} of words", correct=i >= lost, groups={"kind": "ab"[i // 40]})
            for i in range(80)
        ]
        write_run(store, run, train, queries, model=run)
    return build_page(read_run_data(store, "two", folder / "study.toml", "one"))


@pytest.mark.parametrize(("broken", "is_listed"), [(3, False), (6, False), (7, True)])
def test_a_slice_that_fell_by_more_than_chance_is_named(tmp_path, broken, is_listed):
    """McNemar's p-value of k broken and none repaired is 2^(1 - k), twice that for two slices."""
    actions = _write_two_nights(tmp_path, broken).actions
    fallen = [action.what for action in actions if action.what.startswith("Accuracy fell")]
    assert bool(fallen) == is_listed == (2 * 2 ** (1 - broken) <= 0.05)
    if is_listed:
        assert fallen == ["Accuracy fell on a (100% to 82%, 7 broken)"]


def test_a_pair_whose_second_text_is_empty_is_a_broken_row(tmp_path):
    train = [
        Row(f"t{i}", f"text {i}", "ab"[i % 2], pair="..." if i < 3 else f"pair {i}")
        for i in range(12)
    ]
    queries = [Row(f"q{i}", f"query {i}", pair=f"and {i}") for i in range(12)]
    actions = _build(tmp_path, train, queries).actions
    assert actions[0].what == "3 training rows have a text without a letter or digit"
