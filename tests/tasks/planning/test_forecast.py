"""The forecast of an audit is compared with the audit."""

import io
from pathlib import Path

import pytest
import tiny
from rich.console import Console

from fastif.candidates import compute_train_sketches
from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.planning.cost_model import estimate_work
from tasks.planning.forecast import forecast_run, render_forecast
from tasks.planning.open_run import validate_run
from tasks.planning.workload import make_workload
from tasks.run import sketches
from tasks.run.spec import list_missing_shards, list_planned_shards, open_store, plan_run
from tests.tasks.planning.planned_study import plan_study


def test_only_the_remaining_shards_are_forecast(world):
    study = world / "study.toml"
    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    assert len(list_planned_shards(plan)) == 4
    describe_train.fn(ref)
    build_index.fn(ref)
    factor_curvature.fn(ref)
    shards = list_missing_shards(store, ref.run)
    attribute_shard.fn(shards[1], ref)
    assert [shard.index for shard in list_planned_shards(plan)] == [0, 2, 3]
    attribute_shard.fn(shards[3], ref)
    rest = list_planned_shards(plan)
    assert [shard.index for shard in rest] == [0, 2]
    estimate = forecast_run(validate_run(plan), rest)
    assert (estimate.shards, estimate.queries) == (2, 10)


def test_a_resumed_run_keeps_its_shards(world):
    plan = plan_run(world / "study.toml")
    open_store(plan)
    other = plan_run(tiny.write_study(world, run={"shard_size": 3}))
    assert other.record.shard_size == plan.record.shard_size == 5
    assert len(list_planned_shards(other)) == 4


@pytest.mark.long
def test_the_forecast_of_disk_bytes_is_right_for_many_pairs(world):
    """Files have a fixed size that is not forecast, so only large files are compared."""
    rows = [
        {"id": f"{i}", "text": f"{word} {other} film", "label": "pos" if i % 2 else "neg"}
        for i, (word, other) in enumerate((w, o) for w in tiny.WORDS for o in tiny.WORDS)
    ]
    tiny.write_rows(world / "train.csv", rows)
    tiny.write_rows(world / "queries.csv", rows[:120])
    study = tiny.write_study(
        world,
        queries={"groups": None},
        candidates={"kind": "full", "keep": 200},
        parameters={"attributed": ["^classifier"]},
        run={"shard_size": 60, "batch_size": 64},
    )
    plan, context = plan_study(study)
    estimate = forecast_run(context, list_planned_shards(plan))
    store, run = tiny.run_directly(study)
    files = list((store.layout.tables / "scores").rglob("*.parquet"))
    files += (store.layout.root / "parts").rglob("*.safetensors")  # the factor's kernel
    real = sum(path.stat().st_size for path in files)
    assert estimate.pairs == 120 * len(rows[:361])
    assert real / 2 < estimate.disk < 3 * real
    kept = Store.open(store.layout.root, "tiny")
    assert kept.count_run_bytes(run) + kept.count_artifact_bytes() > real


def test_the_rendered_forecast_counts_committed_shards(world):
    plan, context = plan_study(world / "study.toml")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_forecast(forecast_run(context, plan.record.list_shards()[:3]), plan))
    text = console.export_text()
    assert "3 of 4 (1 committed)" in text
    assert plan.record.run in text
    assert str(plan.store_path) in text


@pytest.mark.long
@pytest.mark.parametrize(
    ("candidates", "solver"),
    [
        ({"kind": "sketch", "k": 7, "dimensions": 40, "width": 4096}, {"kind": "dual"}),
        ({"kind": "knn", "k": 7}, {"kind": "cg", "preconditioner": "eigen", "rank": 20}),
    ],
)
def test_artifacts_are_forecast_until_they_exist(world, candidates, solver):
    study = tiny.write_study(world, candidates=candidates, solver=solver)
    plan, context = plan_study(study)
    before = forecast_run(context, plan.record.list_shards()).disk
    store, _ = tiny.run_directly(study)
    parts = [path.stat().st_size for path in (store.layout.root / "parts").rglob("*.[sf]a*")]
    _, after = plan_study(study)
    predicted = before - forecast_run(after, plan.record.list_shards()).disk
    texts = sum(len(row["text"]) for row in tiny.rows_of(world / "train.csv")) // 2
    assert sum(parts) > 5_000
    assert 0.5 * sum(parts) < predicted - texts < 2 * sum(parts)


SKETCH = {"kind": "sketch", "k": 7, "dimensions": 40, "width": 2048}


@pytest.fixture
def sketched(monkeypatch) -> list[int]:
    """Numbers of rows sketched by each call."""
    taken, real = [], compute_train_sketches

    def count_sketches(sketcher, gradients, train, ids, *rest):
        taken.append(len(ids))
        return real(sketcher, gradients, train, ids, *rest)

    monkeypatch.setattr(sketches, "compute_train_sketches", count_sketches)
    return taken


def _forecast_index(study: Path):
    """Forecast work, seconds and bytes of the index; the rest is equal."""
    plan, context = plan_study(study)
    estimate = forecast_run(context, list_planned_shards(plan))
    return (
        estimate_work(make_workload(context, list_planned_shards(plan)))["index"],
        estimate.stages["index"],
        estimate.disk,
    )


@pytest.mark.long
def test_only_new_rows_are_forecast_to_be_sketched_after_a_run(world, sketched):
    study = tiny.write_study(world, candidates=SKETCH)
    first, seconds, bytes_ = _forecast_index(study)
    assert (first.forwards, first.gradients) == (tiny.TRAIN, tiny.TRAIN + 2 * 40)
    store, _ = tiny.run_directly(study)
    assert sum(sketched) == tiny.TRAIN
    rows = tiny.rows_of(world / "train.csv")
    changed = {**rows[5], "text": rows[5]["text"] + " the actor was fine"}
    new = [{**row, "id": f"new-{row['id']}", "text": f"very {row['text']}"} for row in rows[:2]]
    twice = {**rows[7], "id": "twice"}
    tiny.write_rows(world / "train.csv", [*rows[:5], changed, *rows[6:], *new, twice])
    again, quicker, fewer = _forecast_index(study)
    assert (again.forwards, again.gradients) == (0, 3)
    assert quicker < seconds / 5
    held = store.count_artifact_bytes()
    sketched.clear()
    open_store(plan_run(study))
    build_index.fn(plan_run(study).ref)
    assert sum(sketched) == again.gradients
    last, nothing, least = _forecast_index(study)
    assert (last.gradients, nothing) == (0, 0)
    predicted, real = fewer - least, store.count_artifact_bytes() - held
    assert 0 < predicted < 20_000, "no sketcher"
    assert 0 < real < 20_000 < bytes_


@pytest.mark.long
def test_all_rows_of_a_dissimilar_table_are_forecast_to_be_sketched(world, sketched):
    study = tiny.write_study(world, candidates=SKETCH)
    tiny.run_directly(study)
    rows = tiny.rows_of(world / "train.csv")
    for row in rows[:20]:
        row["text"] += " very fast"
    tiny.write_rows(world / "train.csv", rows)
    work, _, _ = _forecast_index(study)
    assert work.forwards == tiny.TRAIN, "a sketcher has to be fitted"
    sketched.clear()
    open_store(plan_run(study))
    build_index.fn(plan_run(study).ref)
    assert work.gradients == sum(sketched) + 2 * 40


@pytest.mark.parametrize(("precision", "count"), [("tf32", 1), ("single", 0)])
def test_tf32_without_such_a_device_is_noted(world, precision, count):
    plan, context = plan_study(tiny.write_study(world, run={"precision": precision}))
    notes = forecast_run(context, list_planned_shards(plan)).notes
    assert sum("no TF32" in note for note in notes) == count
