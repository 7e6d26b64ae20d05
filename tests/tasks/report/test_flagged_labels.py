"""Flagged labels of the newest search, and searches that a report ignores."""

import random
from dataclasses import replace

import polars as pl
import pytest
import tiny
from audited_runs import audited

from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.detection_plan import DETECTOR_VERSION
from tasks.report.mislabels import read_flagged_labels
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def test_flagged_labels_are_those_of_the_newest_search(searched):
    store = open_existing_store(load_study(searched / "study.toml"))
    data = read_run_data(store, store.find_latest().record.run, searched / "study.toml")
    section = read_flagged_labels(data)
    table = data.mislabels.table.sort("rank")
    assert [row["id"] for row in section.rows] == table["id"].to_list()
    for row in section.rows:
        assert all(0 < share <= 1 for _, share in row["bars"])
        effects = data.scores.filter(pl.col("train") == row["train"])["removal_effect"]
        assert [nats for _, nats in row["harms"]] == sorted(
            (-effects.filter(effects < 0)), reverse=True
        )[:3]
    html = render_page(build_page(data))
    assert html.count('<input type="checkbox"') == len(table)
    assert "injected label flips" in html


@pytest.mark.long
def test_rows_missed_by_another_procedure_are_not_new(audit, monkeypatch):
    now = DETECTOR_VERSION
    monkeypatch.setattr("tasks.mislabels.detection_plan.DETECTOR_VERSION", now - 1)
    detect_mislabels.fn(str(audit / "study.toml"))
    monkeypatch.setattr("tasks.mislabels.detection_plan.DETECTOR_VERSION", now)
    detect_mislabels.fn(str(audit / "study.toml"))
    store = open_existing_store(load_study(audit / "study.toml"))
    data = read_run_data(store, store.find_latest().record.run, audit / "study.toml")
    assert [search.facts["procedure"] for search in data.mislabel_results] == [now, now - 1]
    section = read_flagged_labels(data)
    assert not section.has_previous
    assert not any(row["new"] for row in section.rows)


@pytest.mark.long
def test_a_search_among_other_rows_is_not_shown(world):
    detect_mislabels.fn(str(world / "study.toml"))
    rows = tiny.rows_of(world / "train.csv")
    flipped = next(label for label in tiny.LABELS if label != rows[0]["label"])
    tiny.write_rows(world / "train.csv", [rows[0] | {"label": flipped}, *rows[1:]])
    assert audited(world).mislabels is None


def test_suspicious_labels_are_counted_by_source_and_the_worst_is_in_the_headline(made, tmp_path):
    folder = tiny.copy(made, tmp_path / "world")
    data = _search_with_turned_source(folder)
    (counts,) = read_flagged_labels(data).groups
    rows = tiny.rows_of(folder / "train.csv")
    ranked = data.mislabels.table.sort("rank")["id"].to_list()[: counts.window]
    source_of = {row["id"]: row["source"] for row in rows}
    assert counts.window == 10
    for count in counts.values:
        assert count.suspicious == sum(source_of[name] == count.value for name in ranked)
        assert count.rows == sum(row["source"] == count.value for row in rows)
    page = build_page(data)
    html = render_page(page)
    assert "Suspicious labels by source" in html
    named = [count.value for count in counts.excesses]
    assert named == ["agency"]
    assert "source agency has" in page.headline[1]
    assert "more than its share" in html


def _search_with_turned_source(folder):
    """An audit and a search in which the ranking of the search is led by one source."""
    rows = tiny.rows_of(folder / "train.csv")
    rows = [row | {"source": "agency" if i < 9 else "desk"} for i, row in enumerate(rows)]
    tiny.write_rows(folder / "train.csv", rows)
    groups = {**tiny.SECTIONS["train"], "groups": ["source"]}
    tiny.write_study(folder, train=groups)
    study = folder / "study.toml"
    tiny.run_directly(study)
    detect_mislabels.fn(str(study))
    store = open_existing_store(load_study(study))
    data = read_run_data(store, store.find_latest().record.run, study)
    (result,) = data.mislabel_results
    rank = pl.col("train").rank("ordinal").cast(pl.UInt32) - 1
    led = result.table.with_columns(rank=rank, probability=0.9 - 0.01 * rank)
    return replace(data, mislabel_results=(replace(result, table=led),))


@pytest.mark.long
def test_a_ranking_by_chance_has_a_sentence_and_no_table(audit):
    """Labels at random: no row, no table, and no advice to export rows."""
    rows = tiny.rows_of(audit / "train.csv")
    chance = random.Random(5)
    tiny.write_rows(
        audit / "train.csv", [row | {"label": chance.choice(tiny.LABELS)} for row in rows]
    )
    store, run = tiny.run_directly(audit / "study.toml", "by-chance")
    detect_mislabels.fn(str(audit / "study.toml"))
    data = read_run_data(store, run, audit / "study.toml")
    flagged = read_flagged_labels(data)
    assert flagged.rows == []
    assert "no better than chance" in flagged.chance_note
    section = render_page(build_page(data)).split('<h2 id="suspects">')[1].split("<h2")[0]
    assert "no better than chance" in section
    assert "<table" not in section
    assert "suspicious rows" not in section
