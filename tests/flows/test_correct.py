"""`fastif correct`: steps on helpful rows, evaluation on held-out failures, written if improved."""

import json
import random
import shlex

import pytest
import tiny
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fastif import load_model
from flows.cli.app import app
from tasks.correction.correct_model import MIN_ANCHORS, RECORD
from tasks.correction.slice_changes import SliceChange, decide_improvement
from tasks.data.dataset import read_table
from tasks.data.held_out import split_held_out
from tasks.study.study import load_study


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write_anchors(world, count=240, name="anchors.csv", seed=5):
    """Texts in which "not" inverts the label, which the tiny model has not learned."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        word = draw.choice(tiny.BAD if i % 2 else tiny.GOOD)
        text = f"{draw.choice(['film', 'plot', 'actor'])} was not {word}"
        label = tiny.LABELS[i % 2]
        row = {"id": f"{name[0]}-{i}", "text": text, "second": "a", "label": label, "kind": "x"}
        rows.append(row)
    tiny.write_rows(world / name, rows)
    return world / name


def run_correction(world, *more, anchors=None):
    study = world / "study.toml"
    anchors = anchors or write_anchors(world)
    return run("correct", study, "--anchors", anchors, "--out", world / "repaired", *more)


def test_an_improvement_from_new_rows_is_written_with_its_record(world):
    new = write_anchors(world, 120, "new.csv", seed=6)
    done = run_correction(world, "--from", new, "--steps", 25, "--learning-rate", "0.003")
    assert done.exit_code == 0, done.output
    assert "Improved" in done.output
    folder = world / "repaired"
    assert f"Next: set [model] path to {folder.resolve()}, then: fastif audit" in done.output
    record = json.loads((folder / RECORD).read_text())
    assert record["improved"]
    assert record["slices"][0]["name"] == "anchors held out"
    assert record["slices"][0]["loss"] < 0
    assert len(record["taken"]) == 25
    assert all(name.startswith("n-") for step in record["taken"] for name in step)
    before, after = (load_file(f / "model.safetensors") for f in (world / "model", folder))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(tiny.LAST) for name in moved), "only attributed parameters move"
    load_model(folder, tiny.LABELS)
    assert not list(world.glob(".repaired*"))


@pytest.mark.long
def test_a_regression_is_no_improvement(world):
    """Steps on the most harmful rows: the model is written only with `--keep`."""
    more = ("--by", "harmful", "--steps", 8, "--learning-rate", "0.003")
    done = run_correction(world, *more)
    assert done.exit_code == 4, done.output
    assert "No improvement" in done.output
    assert not (world / "repaired").exists()
    same = ("--out", f"{world / 'repaired'}", "--steps", "8", "--learning-rate", "0.003")
    same += ("--by", "harmful", "--balanced", f"{world / 'study.toml'}")
    assert shlex.split(done.output.partition("Next: ")[2])[4:] == list(same)
    done = run_correction(world, *more, "--keep")
    assert done.exit_code == 4
    folder = (world / "repaired").resolve()
    step = f"Next: set [model] path to {folder}, then: fastif audit"
    assert step in done.output, "the folder exists, so the same command would be refused"
    record = json.loads((world / "repaired" / RECORD).read_text())
    assert not record["improved"]
    ids = {row["id"] for row in tiny.rows_of(world / "train.csv")}
    assert {name for step in record["taken"] for name in step} <= ids


@pytest.mark.long
def test_balanced_steps_have_rows_of_every_failure_label(world):
    done = run_correction(world, "--balanced", "--rows", 12, "--steps", 3, "--keep")
    assert done.exit_code in (0, 4), done.output
    record = json.loads((world / "repaired" / RECORD).read_text())
    assert record["how"]["balanced"]
    labels = {row["id"]: row["label"] for row in tiny.rows_of(world / "train.csv")}
    anchors = {row["label"] for row in tiny.rows_of(world / "anchors.csv")}
    assert all({labels[name] for name in step} == anchors for step in record["taken"])


def test_copies_of_a_failure_are_all_used_or_all_held_out(world):
    """Copies under other ids: in both halves they would leak into the evaluation."""
    rows = tiny.rows_of(world / "train.csv")[:24]
    again = [{**row, "id": f"again {i}"} for i, row in enumerate(rows[:13])]
    tiny.write_rows(world / "twice.csv", [*rows, *again])
    source = load_study(world / "study.toml").queries
    source = source.model_copy(update={"table": "twice.csv"})
    table = read_table(source, tiny.LABELS, world, "queries")
    for seed in range(5):
        used, held = split_held_out(table, 0.5, seed)
        assert sorted([*used.tolist(), *held.tolist()]) == list(range(37))
        sides = [{table.texts[i] for i in side.tolist()} for side in (used, held)]
        assert not sides[0] & sides[1]
        assert len(sides[1]) == 12
    few = [*rows[:19], *({**row, "id": f"b{i}"} for i, row in enumerate(rows[:10]))]
    tiny.write_rows(world / "few.csv", few)
    done = run_correction(world, anchors=world / "few.csv")
    assert done.exit_code == 2
    assert "19 distinct among 29 rows" in " ".join(done.output.split())


def test_a_gain_on_failures_with_a_loss_on_queries_is_no_improvement():
    held = SliceChange("anchors held out", 50, 0.5, 0.9, -0.4, -0.5, -0.3)
    lost = SliceChange("all queries", 500, 0.9, 0.8, 0.2, 0.1, 0.3)
    same = SliceChange("all queries", 500, 0.9, 0.9, 0.01, -0.01, 0.03)
    assert not decide_improvement([held, lost])[0]
    assert decide_improvement([held, same])[0]
    unsure = SliceChange("anchors held out", 50, 0.5, 0.6, -0.1, -0.3, 0.1)
    assert not decide_improvement([unsure, same])[0]


@pytest.mark.parametrize("what", ["few", "exists", "labels", "auto"])
def test_invalid_input_is_refused_before_any_computation(world, what):
    anchors = write_anchors(world, MIN_ANCHORS - 1 if what == "few" else 40)
    if what == "exists":
        (world / "repaired").mkdir()
    if what == "labels":
        anchors.write_text(anchors.read_text().replace(",neg", ",bad"))
    if what == "auto":
        tiny.write_study(world, curvature={"damping": "auto"}, training={"base": "base"})
    done = run_correction(world, anchors=anchors)
    assert done.exit_code == 2, done.output
    assert "Refused" in done.output
    assert not (world / "repaired" / RECORD).exists()
