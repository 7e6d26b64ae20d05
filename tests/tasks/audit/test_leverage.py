"""Leverage correction in a study: dense reference, store and summary, comparison of runs."""

from pathlib import Path

import pytest
import reference
import tiny
import torch
from truth import Truth, table

from fastif import InputError
from tasks.planning.open_run import validate_run
from tasks.results.compare_runs import diff_runs
from tasks.results.summary import read_summary
from tasks.run.spec import plan_run

HEAD = ("classifier.",)


@pytest.fixture
def world(made, tmp_path) -> Path:
    return tiny.copy(made, tmp_path / "world")


def _study(world, name="study.toml", **changes) -> Path:
    settings = {
        "parameters": {"attributed": ["^classifier"]},
        "curvature": {"damping": 0.01, "leverage": "auto"},
        "candidates": {"kind": "full", "keep": 60},
        "run": {"shard_size": 9},
    }
    return tiny.write_study(world, name, **{**settings, **changes})


@pytest.mark.long
@pytest.mark.parametrize("solver", ["dual", pytest.param("direct", marks=pytest.mark.long)])
def test_effects_with_leverage_equal_those_of_the_dense_curvature_without_the_row(world, solver):
    study = _study(world, solver={"kind": solver})
    store, run = tiny.run_directly(study)
    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    truth = Truth(world / "model", *rows, HEAD)
    query_gradients, train = (
        reference.gradients(problem) for problem in (truth.queries, truth.train)
    )
    damped = reference.gauss_newton(truth.train) + 0.01 * torch.eye(train.shape[1]).double()
    effects = torch.stack(
        [
            query_gradients
            @ torch.linalg.solve(
                damped - reference.gauss_newton(truth.train, [i]) / len(train), train[i]
            )
            / len(train)
            for i in range(len(train))
        ],
        1,
    )
    scores = tiny.scores_by_id(store, run)
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    expected = table(effects, scores)
    assert (actual - expected).abs().max() < 1e-3 * expected.abs().max()
    plain = table(truth.effects(0.01), scores)
    assert (plain - expected).abs().max() > 1e-2 * expected.abs().max(), (
        "the leverage must be noticeable"
    )
    assert store.scan("solves", run).collect()["leverage"].unique().to_list() == ["on"]
    description = dict(read_summary(store, run, study).evidence)["leverage of rows"]
    assert description == "on: effects of one Newton step after the removal of a row"


def test_leverage_off_is_reported_and_impossible_leverage_refused(world):
    sampled = {"damping": 0.01, "leverage": "auto", "rows": 30}
    study = _study(world, curvature=sampled)
    store, run = tiny.run_directly(study)
    description = dict(read_summary(store, run, study).evidence)["leverage of rows"]
    assert description.startswith("off: the curvature does not cover the full training set")
    demanded = _study(world, curvature={**sampled, "leverage": "on"}, store={"path": "other"})
    with pytest.raises(InputError, match=r"\[curvature\] leverage"):
        validate_run(plan_run(demanded))


@pytest.mark.long
def test_runs_with_and_without_leverage_are_not_compared_by_number(world, monkeypatch):
    """With "auto" the size of the tables decides; the settings of both runs are equal."""
    study = _study(world)
    store, before = tiny.run_directly(study)
    tiny.write_rows(world / "train.csv", tiny.rows_of(world / "train.csv")[:-1])
    monkeypatch.setattr("fastif.attribution.leverage.MAX_AUTO_COST", 1)
    _, after = tiny.run_directly(study)
    assert before != after
    verdict = diff_runs(store, before, after).comparability
    assert verdict.level == "order"
    assert "leverage: on became off" in str(verdict)
    assert diff_runs(store, before, before).comparability.level == "numbers"
