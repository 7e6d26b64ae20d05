"""kind = "auto": chosen once by forecast, reported, with the results of the chosen kind."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest
import tiny
from typer.testing import CliRunner

from fastif.solvers.settings import DualSettings
from flows.cli import app as cli
from storage import Store, StoreError
from tasks.planning import calibration as rates
from tasks.planning.batch_sizing import MEMORY_FRACTION
from tasks.planning.calibration import Rates
from tasks.planning.open_run import load_run, open_run
from tasks.planning.start_run import start_run
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import render_summary_markdown
from tasks.run.budget_selection import BudgetSelection, Option, Settings, budget_digest
from tasks.run.method_choice import (
    FULL,
    KNN,
    SKETCH,
    SKETCH_ONLY,
    method_digest,
)
from tasks.run.selections import BUDGET, METHOD, SelectionKind
from tasks.run.spec import open_existing_store, plan_run, replan
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import KnnSection, SketchSection

AUTO = {"kind": "auto", "check": 4}
DEAR_GRADIENTS = Rates(prefix=1e-6, forward=1e-6, gradient=1.0, product=1e-9)
DEAR_PRODUCTS = Rates(prefix=1e-6, forward=1e-6, gradient=1e-6, product=1.0)
"""Cost as for very many parameters, where a full scan is the most expensive."""


QUICK = Rates(prefix=1e-9, forward=1e-9, gradient=1e-9, product=1e-9)


@pytest.fixture
def set_rates(monkeypatch):
    """Measure these rates from now on."""

    def set_calibration(measured: Rates) -> None:
        monkeypatch.setattr(rates, "calibrate", lambda context: measured)

    return set_calibration


def write_auto_study(world, name="study.toml", *, store="store", **keys):
    some = {"rows": 30}  # of all rows this solver has every score at once, and nothing is dearer
    return tiny.write_study(
        world, name, candidates=AUTO | keys, store={"path": store}, curvature=some
    )


def choose_method(study):
    choice = load_run(plan_run(study)).plan.method
    assert choice is not None
    return choice


def audited(study, run=None):
    """Run the steps of the flow without Prefect."""
    context = start_run(plan_run(study, run))
    tiny.run_directly(study, run)
    return context, context.store


def rows(store, run) -> pl.DataFrame:
    return tiny.scores_by_id(store, run).select("query_id", "train_id", "removal_effect")


@pytest.fixture
def many(world):
    """The tiny study with 350 queries: with 17, choosing k on 16 would dominate the cost."""
    words = [(word, other) for word in tiny.WORDS for other in tiny.WORDS][:350]
    rows = [
        {"id": f"{i}", "text": f"{word} {other} film", "label": "pos" if i % 2 else "neg"}
        for i, (word, other) in enumerate(words)
    ]
    tiny.write_rows(world / "queries.csv", rows)
    return world


@pytest.mark.long
def test_each_method_is_chosen_where_it_is_best(many, set_rates):
    def choose(**keys):
        keys = {"candidates": AUTO | {"check": 0} | keys, "queries": {"groups": None}}
        study = tiny.write_study(many, **keys, run={"shard_size": 64}, curvature={"rows": 30})
        return choose_method(study)

    set_rates(DEAR_GRADIENTS)
    assert choose().name == FULL
    set_rates(DEAR_PRODUCTS)
    dear = choose()
    full, sketch, near = dear.offers
    assert [offer.name for offer in dear.offers] == [FULL, SKETCH, KNN]
    assert dear.name == SKETCH
    assert sketch.seconds < full.seconds
    assert near.candidates == KnnSection(k=6, check=0), "a tenth of the rows"
    few = 0.9999 * sketch.seconds / 60
    coarse = choose(minutes=few)
    assert (coarse.name, coarse.selected.candidates) == (KNN, KnnSection(k=3, check=0)), (
        "as many as fit"
    )
    allowed = choose(minutes=few, sketch_scores=True)
    assert allowed.name == SKETCH_ONLY
    assert allowed.selected.candidates == SketchSection(k=60, rescore=False, check=0)
    hopeless = choose(minutes=1e-9)
    assert not hopeless.fits


def only_near(world, set_rates, **keys) -> dict:
    """Keys for which only nearest neighbours fit at `DEAR_PRODUCTS`."""
    set_rates(DEAR_PRODUCTS)
    full, _, near = choose_method(write_auto_study(world, **keys)).offers
    return keys | {"minutes": (full.seconds + near.seconds) / 2 / 60}


@pytest.mark.long
def test_a_second_start_with_other_speeds_keeps_the_choice_and_the_results(world, set_rates):
    keys = only_near(world, set_rates, check=0)
    assert choose_method(write_auto_study(world, **keys)).name == KNN
    set_rates(QUICK)
    study = write_auto_study(world, **keys)
    context, store = audited(study)
    run = context.plan.record.run
    assert isinstance(context.study.candidates, FullScanSection)
    expected = rows(store, run)
    set_rates(DEAR_PRODUCTS)
    for shard in context.plan.record.list_shards()[:2]:
        store.layout.manifest(run, shard.key).unlink()
    again, _ = audited(write_auto_study(world, "again.toml", **keys))
    assert isinstance(again.study.candidates, FullScanSection)
    assert rows(store, run).equals(expected)
    assert again.plan.method == context.plan.method, "with the times of the first start"
    other, _ = audited(study, "by-another-name")
    assert isinstance(other.study.candidates, FullScanSection)
    assert rows(store, "by-another-name").equals(expected)


@pytest.mark.long
def test_results_equal_those_of_the_chosen_kind(world, set_rates):
    set_rates(DEAR_GRADIENTS)
    context, store = audited(write_auto_study(world))
    given = tiny.write_study(
        world,
        "f.toml",
        candidates={"kind": "full"},
        store={"path": "f"},
        curvature={"rows": 30},
    )
    other, run = tiny.run_directly(given)
    assert rows(store, context.plan.record.run).equals(rows(other, run))
    assert run != context.plan.record.run, "what is asked for is another thing"


def test_nearest_neighbours_are_chosen_with_a_warning_and_their_recall(world, set_rates):
    study = write_auto_study(world, **only_near(world, set_rates, check=1))
    context, store = audited(study)
    summary = read_summary(store, context.plan.record.run, study)
    (alarm,) = [alarm for alarm in summary.warnings if "Nearest neighbours miss" in alarm]
    share = next(entry["share"] for entry in summary.recall if entry["at"] == 10)
    assert f"{share:.2f} of the top 10" in alarm
    assert "No other method fits into" in alarm


@pytest.mark.long
def test_the_choice_is_in_the_store_and_in_the_summary(world, set_rates):
    set_rates(DEAR_GRADIENTS)
    study = write_auto_study(world)
    context, store = audited(study)
    run, choice = context.plan.record.run, context.plan.method
    column = store.scan("runs", run).collect()["candidates"].item()
    assert json.loads(column)["kind"] == "auto"
    assert (
        METHOD.parse_column(column)
        == choice
        == METHOD.read(store, method_digest(context.plan.record))
    )
    summary = read_summary(store, run, study)
    evidence = dict(summary.evidence)
    assert evidence["method chosen"] == f"full. {choice.reason}"
    assert evidence["  full"] == str(choice.offers[0])
    assert f"| method chosen | full. {choice.reason} |" in render_summary_markdown(summary)


def test_a_dry_run_lists_the_methods_and_writes_nothing(world):
    study = write_auto_study(world, minutes=600)
    done = CliRunner().invoke(cli.app, ["audit", str(study), "--dry-run"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    for part in ("method chosen", " full ", " sketch ", " knn ", "GB of memory", "MB written"):
        assert part in text
    assert not (world / "store").exists()


def test_a_study_that_cannot_be_sketched_is_scanned(world, set_rates):
    set_rates(DEAR_PRODUCTS)
    study = tiny.write_study(
        world,
        candidates=AUTO | {"sketch_scores": True},
        curvature={"damping": 0},
        solver={"kind": "direct"},
        parameters={"attributed": ["^classifier"]},
    )
    choice = choose_method(study)
    assert choice.name == FULL
    assert "needs a damping > 0" in choice.reason


def test_methods_that_exceed_the_memory_are_not_chosen(world, set_rates):
    set_rates(DEAR_PRODUCTS)
    study = write_auto_study(world)
    tight = choose_method(study).offers[0].memory / 2**30 / MEMORY_FRACTION + 1e-4
    run = {"shard_size": 5, "batch_size": 16, "memory_gb": tight, "prefix_cache_mb": 0}
    wide = tiny.write_study(world, candidates=AUTO, run=run, curvature={"rows": 30})
    choice = choose_method(wide)
    assert choice.name == FULL
    assert "[run] memory_gb" in choice.offers[1].lacks
    nothing = tiny.write_study(world, candidates=AUTO, run=run | {"memory_gb": 0.1})
    done = CliRunner().invoke(cli.app, ["audit", str(nothing), "--dry-run"])
    assert done.exit_code == 2
    assert "a candidate method that fits into memory and disk" in " ".join(done.stderr.split())


@pytest.mark.long
def test_a_run_without_its_stored_choice_is_not_continued(world, set_rates):
    set_rates(DEAR_GRADIENTS)
    study = write_auto_study(world)
    _, store = audited(study)
    shutil.rmtree(store.layout.root / "parts" / "method")
    with pytest.raises(StoreError, match="the candidate method of its first start"):
        start_run(plan_run(study))


def test_of_two_processes_that_choose_at_once_the_second_uses_the_first_choice(
    world, set_rates, monkeypatch
):
    set_rates(DEAR_GRADIENTS)
    study = write_auto_study(world)
    first = load_run(plan_run(study)).plan.method
    assert first is not None
    other = replace(first, name=KNN, reason="It came first.")
    real = SelectionKind.write

    def beaten(kind, store, digest, choice):
        real(kind, store, digest, other)
        real(kind, store, digest, choice)

    monkeypatch.setattr(SelectionKind, "write", beaten)
    context = start_run(plan_run(study))
    assert context.plan.method == other
    assert isinstance(open_run(context.plan.ref).study.candidates, KnnSection)


@pytest.mark.long
@pytest.mark.flow
def test_a_study_is_audited_twice_by_the_flow(world, prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    from flows.audit import audit

    study = write_auto_study(world)
    run = audit(str(study))
    store = open_existing_store(load_run(plan_run(study)).study)
    first, column = rows(store, run), store.scan("runs", run).collect()["candidates"].item()
    assert METHOD.parse_column(column) == load_run(plan_run(study)).plan.method
    again = audit(str(study), "again")
    assert rows(store, again).equals(first)
    assert store.scan("runs", again).collect()["candidates"].item() == column


@pytest.mark.long
def test_an_audit_shows_the_run_of_the_settings_that_another_process_selected(world, monkeypatch):
    study = tiny.write_study(world, candidates=AUTO, run={"budget": "90h"})
    settings = Settings(30, DualSettings(), FullScanSection())
    other = BudgetSelection("90h", Option(settings), "Selected by another process.")
    plan = plan_run(study)

    def select_concurrently(context):
        store = Store.open(plan.store_path, plan.record.study)
        BUDGET.write(store, budget_digest(plan.record.parts, plan.study_as_written), other)
        return QUICK

    monkeypatch.setattr(rates, "calibrate", select_concurrently)
    done = CliRunner().invoke(cli.app, ["audit", str(study)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert replan(plan, other).record.run in done.output
