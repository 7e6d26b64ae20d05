"""Incremental runs use the estimator that their first run selected."""

import shutil

import numpy as np
import pytest
import tiny

from storage import Store, StoreError
from tasks.audit import select_damping as chooser
from tasks.models.finetune import train_model
from tasks.planning.open_run import load_run
from tasks.run.artifact_keys import estimator_digest
from tasks.run.row_norms import read_row_norms
from tasks.run.spec import plan_run

RECIPE = {"base": "base", "trainable": "last:1", "epochs": 8, "learning_rate": 0.01}
CHANGES = {
    "curvature": {"damping": "auto"},
    "training": RECIPE,
    "model": {"path": "trained"},
    "estimator": {"power": 0.5},
    "candidates": {"kind": "full", "keep": tiny.TRAIN, "totals": False},
    "carry": {"least": 0.9},
}
ADDED = 2


def write_study(world, name="study.toml", **changes):
    return tiny.write_study(world, name, **{**CHANGES, **changes})


@pytest.fixture(scope="module")
def first_night(made, tmp_path_factory):
    folder = tiny.copy(made, tmp_path_factory.mktemp("incremental") / "world")
    train_model.fn(str(write_study(folder)))
    tiny.run_directly(write_study(folder))
    return folder


@pytest.fixture
def second_night(first_night, tmp_path):
    """The folder with two queries added after the first run, and the first run."""
    folder = tiny.copy(first_night, tmp_path / "copied")
    first = plan_run(write_study(folder))
    rows = tiny.rows_of(folder / "queries.csv")
    added = [
        {**rows[i], "id": f"added-{i}", "text": f"{tiny.WORDS[i]} {rows[i]['text']}"}
        for i in range(ADDED)
    ]
    tiny.write_rows(folder / "queries.csv", [*added[:1], *rows, *added[1:]])
    return folder, first


def refuse_retraining(*_):
    raise AssertionError("an incremental run retrains nothing")


@pytest.mark.long
def test_an_incremental_run_keeps_the_selection(second_night, monkeypatch):
    """Old scores are reused; new ones equal effects of each selected model with a fixed damping."""
    folder, first = second_night
    selected = load_run(first).estimator_choice
    monkeypatch.setattr(chooser, "_retrain_on_halves", refuse_retraining)
    study = write_study(folder)
    store, run = tiny.run_directly(study)
    assert run != first.record.run
    context = load_run(plan_run(study))
    assert context.plan.lineage.root.run == first.record.run
    assert context.estimator_choice == selected
    origins = store.scan("solves", run).sort("query").collect()["origin"].to_list()
    assert origins == [None, *[first.record.run] * tiny.QUERIES, None]
    columns = ["query_id", "train_id", "rank", "removal_effect", "ranking_score"]
    before, after = (_read_scores(store, name).select(columns) for name in (first.record.run, run))
    assert after.filter(~after["query_id"].str.starts_with("added-")).equals(before)
    scores = store.scan("scores", run).sort("query", "train").collect()
    actual = scores["removal_effect"].to_numpy().reshape(-1, tiny.TRAIN)
    names = [context.study.model.path, *context.study.estimator.folders]
    effects = [
        _compute_effects(folder, names[place], damping)
        for place, damping in zip(
            selected.estimator.models, selected.estimator.dampings, strict=True
        )
    ]
    np.testing.assert_allclose(actual, np.mean(effects, axis=0), rtol=1e-3, atol=1e-6)
    norms = read_row_norms(store, estimator_digest(context)).numpy()
    ranking = actual / np.sqrt(norms / np.sort(norms)[(tiny.TRAIN - 1) // 2])
    expected = scores["ranking_score"].to_numpy().reshape(-1, tiny.TRAIN)
    np.testing.assert_allclose(expected, ranking, rtol=1e-4, atol=1e-7)


def _read_scores(store: Store, run: str):
    return tiny.scores_by_id(store, run).sort("query_id", "rank")


def _compute_effects(folder, model: str, damping: float) -> np.ndarray:
    """Effects [queries, rows] of a separate run on one model, its damping set by the study."""
    fixed = tiny.write_study(
        folder,
        "fixed.toml",
        model={"path": model},
        curvature={"damping": damping},
        candidates=CHANGES["candidates"],
        store={"path": f"store-of-{model.replace('/', '-')}"},
    )
    store, run = tiny.run_directly(fixed)
    scores = store.scan("scores", run).sort("query", "train").collect()
    return scores["removal_effect"].to_numpy().reshape(-1, tiny.TRAIN)


@pytest.mark.long
def test_a_selection_lost_since_is_refused(second_night):
    folder, first = second_night
    context = load_run(first)
    parts = context.store.layout.root / "parts" / "estimator"
    shutil.rmtree(parts / estimator_digest(context))
    with pytest.raises(StoreError, match="estimator that run"):
        tiny.run_directly(write_study(folder))


@pytest.mark.long
def test_another_training_row_makes_a_full_run(second_night):
    """Without sketch scores the norms of a new row are unknown, so it is selected again."""
    folder, _ = second_night
    rows = tiny.rows_of(folder / "train.csv")
    tiny.write_rows(folder / "train.csv", rows[:-1])
    plan = plan_run(write_study(folder))
    assert plan.lineage is None
    assert load_run(plan).estimator_choice is None
