"""Rows that overflow in a real model are quarantined and named; all else is committed.

The model's weights are finite, but one word's embedding is so large that its layer norm overflows.
"""

import re

import polars as pl
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from flows.cli import app as cli
from flows.cli.common import out

WORD, EMBEDDING = "[MASK]", "bert.embeddings.word_embeddings.weight"
QUERY, ROW = 6, 21
FULL = {"kind": "full", "keep": 100}
NEAR = {"kind": "knn", "k": 60}


def write_broken_row(world) -> None:
    """The embedding of a word of a single row becomes infinite."""
    path = world / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors[EMBEDDING][4] = 3e38
    tensors[EMBEDDING][4, ::2] = -3e38
    save_file(tensors, path, {"format": "pt"})


def spoil(world, name: str, row: int) -> None:
    path = world / f"{name}.csv"
    rows = tiny.rows_of(path)
    rows[row]["text"] = f"the {WORD} plot"
    tiny.write_rows(path, rows)


def show(world, *args: str) -> str:
    out._width = 220
    study = str(world / "study.toml")
    options = [study] if args[0] == "audit" else ["--study", study]
    result = CliRunner().invoke(cli.app, [*args, *options])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def broken_world(world):
    write_broken_row(world)
    return world


@pytest.mark.long
@pytest.mark.parametrize("candidates", [FULL, NEAR], ids=["full", "knn"])
def test_a_query_that_overflows_is_quarantined_and_the_others_are_unaffected(
    broken_world, candidates
):
    study = tiny.write_study(broken_world, candidates=candidates)
    plain = tiny.scores_by_id(*tiny.run_directly(study))
    spoil(broken_world, "queries", QUERY)
    store, run = tiny.run_directly(study)
    (status,) = (status for status in store.list_runs() if status.record.run == run)
    assert status.finished
    assert store.verify(run) == []
    name = f"query-{QUERY}"
    actual = tiny.scores_by_id(store, run)
    expected = plain.filter(pl.col("query_id") != name)
    assert actual.select("query_id", "train_id").equals(expected.select("query_id", "train_id"))
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap < 1e-4 * expected["removal_effect"].abs().max()
    solves = store.scan("solves", run).collect()
    lost = solves.filter(pl.col("reason").is_not_null())
    assert lost["query"].to_list() == [QUERY]
    assert "not finite" in lost["reason"].item()
    assert lost["converged"].to_list() == [False]
    measured = ["residual", "full_residual", "gradient_norm", "solution_norm", "gradient_cosine"]
    assert lost.select(measured).row(0) == (None,) * 5
    assert (
        solves.filter(pl.col("reason").is_null()).select(measured).null_count().sum_horizontal()[0]
        == 0
    )
    query = store.scan("queries", run).collect().row(QUERY, named=True)
    assert (query["loss"], query["probability"], query["prediction"]) == (None, None, None)
    assert query["correct"] is False
    facts = store.scan("runs", run).collect().row(0, named=True)
    assert facts["quarantined_queries"] == 1
    text = show(broken_world, "audit")
    assert f"1 query without scores: {name}" in text
    assert "not finite" in text
    assert "quarantined" in show(broken_world, "top", name, "--run", run)
    assert "harmful" in show(broken_world, "top", "query-0", "--run", run)


@pytest.mark.long
def test_a_training_row_that_overflows_is_left_out_and_named(broken_world):
    """It is also excluded from the curvature, of all rows here, and from the candidate index."""
    study = tiny.write_study(broken_world, candidates=NEAR)
    spoil(broken_world, "train", ROW)
    store, run = tiny.run_directly(study)
    scores = store.scan("scores", run).collect()
    assert ROW not in scores["train"]
    assert scores.group_by("query").len()["len"].to_list() == [tiny.TRAIN - 1] * tiny.QUERIES
    solves = store.scan("solves", run).collect()
    assert solves["dropped"].to_list() == [1] * tiny.QUERIES
    assert solves["reason"].null_count() == tiny.QUERIES
    assert solves["residual"].max() < 1e-3
    rows = store.scan("train", run).collect()
    assert rows["loss"].null_count() == 1
    assert rows["loss"][ROW] is None
    text = show(broken_world, "audit")
    assert f"1 training row with a loss that is not finite: train-{ROW}" in text
    assert f"{tiny.QUERIES} scores are missing" in text
    assert "not a candidate of any query" in show(broken_world, "show", f"train-{ROW}")
    # Without the row, and n as it was: the same effects, up to a curvature of one row less.
    few = [row for i, row in enumerate(tiny.rows_of(broken_world / "train.csv")) if i != ROW]
    tiny.write_rows(broken_world / "train.csv", few)
    scale = tiny.TRAIN / (tiny.TRAIN - 1)
    other = tiny.write_study(
        broken_world,
        candidates={"kind": "full", "keep": 100},
        curvature={"damping": 0.01 * scale},
    )
    expected = tiny.scores_by_id(*tiny.run_directly(other))
    actual = tiny.scores_by_id(store, run)
    assert actual.select("query_id", "train_id").equals(expected.select("query_id", "train_id"))
    # (Σ/n + λ)⁻¹ / n = (Σ/(n-1) + λn/(n-1))⁻¹ / (n-1): exactly the same; the truth is a run
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap < 1e-4 * expected["removal_effect"].abs().max()


@pytest.mark.long
def test_a_solver_that_diverges_commits_every_shard_with_its_reason(world):
    solver = {"kind": "lissa", "depth": 400, "scale": 0.01}
    study = tiny.write_study(world, solver=solver)
    store, run = tiny.run_directly(study)
    (status,) = store.list_runs()
    assert status.finished
    assert store.scan("scores", run).collect().is_empty()
    solves = store.scan("solves", run).collect()
    assert solves["reason"].null_count() == 0
    assert solves["gradient_norm"].null_count() == 0
    text = show(world, "audit")
    assert f"{tiny.QUERIES} queries without scores" in text
    assert "diverged" in text
    assert re.search(r"scale", text)
    assert "quarantined" in show(world, "top", "query-0")
    assert torch.isfinite(torch.tensor(store.scan("queries", run).collect()["loss"])).all()
