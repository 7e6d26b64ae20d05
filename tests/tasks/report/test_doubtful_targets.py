"""Doubtful labels and numbers on the page of a report: listed, reviewed there, and imported."""

import csv
import html
import json
import random
import re

import command_line
import polars as pl
import pytest
import tiny
from target_worlds import WORLDS, make_world

from tasks.audit.in_process import audit_in_process
from tasks.report.build import ReportRequest, build_report
from tasks.run.spec import plan_run
from tasks.wrong_targets.search import search_wrong_targets

SETTINGS = {"candidates": {"kind": "full", "keep": 40}, "solver": {"kind": "direct"}}


def _make(folder, name):
    """An audited study of a kind, with a search for wrong targets."""
    world = WORLDS[name]
    make_world(folder, world)
    _write_clear_rows(folder, name)
    study = tiny.write_study(folder, **{**SETTINGS, **world.study})
    store, run = audit_in_process(plan_run(study))
    digest = search_wrong_targets(study)
    folder = store.find_artifact("wrong-targets", digest)
    return study, pl.read_parquet(folder / "wrong_targets.parquet"), store, run


def _write_clear_rows(folder, name):
    """Training rows whose words decide the target; of the first two it is wrong."""
    draw = random.Random(4)
    rows = pl.read_csv(folder / "train.csv").head(1).to_dicts()
    lines = []
    for place in range(90):
        is_good = place % 2 == 0
        words = draw.choices([*(tiny.GOOD if is_good else tiny.BAD)], k=4)
        is_given = is_good != (place < 2)
        label = ("warm" if is_given else "cold") if name == "multi-label" else 9.5 * is_given
        label = label if name == "multi-label" else label + round(draw.random(), 3)
        more = {"id": f"row-{place}", "text": " ".join(words), "label": label}
        lines.append({**rows[0], **more})
    pl.DataFrame(lines).write_csv(folder / "train.csv")


def _build(study, name="report.html"):
    out = study.parent / name
    build_report.fn(ReportRequest(str(study), out=str(out)))
    return out.read_text("utf-8")


def _read_rows(page):
    return [json.loads(html.unescape(text)) for text in re.findall(r'data-row="([^"]*)"', page)]


def test_labels_are_reviewed_on_the_page_and_imported(tmp_path):
    study, table, _, _ = _make(tmp_path / "made", "multi-label")
    page = _build(study)
    listed = table.filter((pl.col("score") >= 0.01) & pl.col("informed")).sort("rank")
    rows = _read_rows(page)
    assert {row["id"] for row in rows[:4]} == {
        f"row-{place}:{name}" for place in (0, 1) for name in ("warm", "cold")
    }
    assert [row["id"] for row in rows] == [
        f"{cell['id']}:{cell['name']}" for cell in listed.head(300).iter_rows(named=True)
    ]
    assert [row["label"] == "yes" for row in rows] == (listed["given"] == 1).to_list()[:300]
    assert "Labels were not checked" not in page
    assert "no class fits" not in page.split("<script>")[0]
    chosen = study.parent / "review.csv"
    with chosen.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "right_label", "reviewer"])
        writer.writeheader()
        for row in rows[:3]:
            writer.writerow({**row, "right_label": row["suggested"], "reviewer": "ann"})
    code, out, message = command_line.run("review", "import", str(chosen), str(study))
    assert code == 0, out + message
    assert [row["id"] for row in _read_rows(_build(study, "next.html"))] == [
        row["id"] for row in rows[3:]
    ]


def test_numbers_are_listed_with_their_intervals(tmp_path):
    study, table, _, _ = _make(tmp_path / "made", "number")
    page = _build(study)
    first = table.sort("rank").row(0, named=True)
    assert first["informed"]
    assert first["id"] in ("row-0", "row-1")
    for name in ("given", "suggested", "low", "high"):
        assert f">{first[name]:.6g}</td>" in page
    assert "fastif review export" in page
    assert "start-review" not in page.split("<script>")[0]


@pytest.mark.parametrize("change", ["text", "target"])
def test_a_search_among_other_rows_is_not_shown(tmp_path, change):
    folder = tmp_path / "made"
    study, _, _, _ = _make(folder, "multi-label")
    rows = pl.read_csv(folder / "train.csv")
    changed = pl.lit("warm|long") if change == "target" else pl.col("text") + " again"
    column = "label" if change == "target" else "text"
    is_first = pl.int_range(pl.len()) == 0
    rows = rows.with_columns(pl.when(is_first).then(changed).otherwise(column).alias(column))
    rows.write_csv(folder / "train.csv")
    audit_in_process(plan_run(study))
    page = _build(study)
    assert not _read_rows(page)
    assert "Labels were not checked" in page
