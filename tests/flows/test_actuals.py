"""Forecast and actual cost: stored and shown; of a resumed run only for the remaining work."""

import json
import resource

import pytest
import tiny

from flows.audit import audit
from storage import Store
from tasks.planning.actuals import ForecastVsActual, parse_forecast_vs_actual
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import render_summary_markdown
from tasks.run.spec import list_missing_shards, open_store, plan_run
from tasks.terminal.audit import render_summary

pytestmark = pytest.mark.flow

STAGES = {"damping", "hidden states", "predictions", "index", "curvature", "shards", "recall"}


@pytest.fixture
def study(world, prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    return world / "study.toml"


def run_and_read(study) -> tuple[Store, str, dict]:
    run = audit(str(study))
    store = Store.open(study.parent / "store", "tiny", create=False)
    return store, run, store.scan("runs", run).collect().to_dicts()[0]


def bytes_of(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_it_is_stored_and_shown_with_measured_times_memory_and_bytes(study, capsys):
    store, run, row = run_and_read(study)
    actuals = json.loads(row["forecast"])
    assert set(actuals) == {"seconds", "memory", "disk"}
    assert set(actuals["seconds"]) == STAGES | {"agreement"}  # none with the curvature of all rows
    predicted, took = ({name: pair[i] for name, pair in actuals["seconds"].items()} for i in (0, 1))
    assert min(took.values()) >= 0
    assert all(took[name] > 0 for name in STAGES), "each stage was at least entered"
    assert sum(took.values()) <= row["seconds"]
    assert sum(took.values()) > 0.5 * row["seconds"] or row["seconds"] < 10
    assert predicted["damping"] == 0
    assert predicted["shards"] > 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 0.5 * peak < actuals["memory"][1] <= peak
    finish = [store.layout.manifest(run, "finish"), *store.layout.table("runs", run).rglob("*.*")]
    later = sum(path.stat().st_size for path in finish if path.is_file())
    root = store.layout.root
    there = bytes_of(root / "tables") + bytes_of(root / "runs") + bytes_of(root / "parts")
    opened = store.layout.record(run), store.layout.order(run)  # before the run is begun
    record = sum(path.stat().st_size for path in opened)
    assert actuals["disk"][1] == there - later - record
    summary = read_summary(store, run, study)
    line = str(parse_forecast_vs_actual(row["forecast"]))
    assert f"time {sum(took.values()):.0f} s (forecast" in line
    assert f"peak memory {actuals['memory'][1] / 2**30:.1f} GB (forecast" in line
    assert f"| forecast | {line} |" in render_summary_markdown(summary)
    assert line in _text(render_summary(summary))
    assert "forecast: about" in capsys.readouterr().err


@pytest.mark.long
def test_a_resumed_run_reports_only_its_own_work(study):
    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    tiny.describe_train.fn(ref)
    tiny.build_index.fn(ref)
    tiny.factor_curvature.fn(ref)
    for shard in list_missing_shards(store, ref.run)[:3]:
        tiny.attribute_shard.fn(shard, ref)
    before = bytes_of(store.layout.root)
    _, _, row = run_and_read(study)
    actuals = json.loads(row["forecast"])
    for name in ("predictions", "index", "curvature"):
        assert actuals["seconds"][name][0] == 0, "it was there"
    assert actuals["seconds"]["shards"][0] > 0
    assert 0 < actuals["disk"][1] < before


@pytest.mark.long
def test_a_run_without_a_forecast_shows_none(world):
    store, run = tiny.run_directly(world / "study.toml")
    assert store.scan("runs", run).collect()["forecast"].item() is None
    summary = read_summary(store, run, world / "study.toml")
    assert summary.outcome is None
    assert "| forecast |" not in render_summary_markdown(summary)
    assert "peak memory" not in _text(render_summary(summary))


def test_the_column_round_trips():
    outcome = ForecastVsActual({"shards": (1.0, 2.0)}, (3, 4), (5, 6))
    back = parse_forecast_vs_actual(outcome.to_json())
    assert str(back) == str(outcome)
    assert parse_forecast_vs_actual(None) is None


def _text(shown) -> str:
    import io

    from rich.console import Console

    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(shown)
    return console.export_text()
