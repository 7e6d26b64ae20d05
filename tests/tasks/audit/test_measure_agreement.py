"""The agreement in a run's record is that between two audits: by its sample, and by all rows."""

from dataclasses import replace

import pytest
import tiny
from scipy.stats import pearsonr
from transformers import BertForSequenceClassification

from fastif.evaluation.select_damping import DampingSelection
from tasks.audit.measure_agreement import SEED, measure_agreement
from tasks.audit.prepare import describe_train, factor_curvature
from tasks.planning import calibration
from tasks.planning.agreement_cost import QUERIES
from tasks.planning.calibration import Rates
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run
from tasks.results.summary import read_summary
from tasks.run.agreement import parse_agreement
from tasks.run.artifact_keys import damping_digest
from tasks.run.curvature import sample_rows
from tasks.run.selections import AGREEMENT, DAMPING
from tasks.run.spec import open_store, plan_run
from tasks.run.stored_agreement import read_agreement
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.study.durations import format_duration

ROWS = 20
ALL_SCORES = {"kind": "full", "keep": 60}


def write(world, name, rows, **sections):
    keys = {"candidates": ALL_SCORES, "curvature": {"rows": rows, "damping": 0.05}, **sections}
    return tiny.write_study(world, f"{name}.toml", store={"path": name}, **keys)


def measure(study):
    """Run the steps before the first shard; return what is stored."""
    plan = plan_run(study)
    store = open_store(plan)
    describe_train.fn(plan.ref)
    factor_curvature.fn(plan.ref)
    measure_agreement.fn(plan.ref)
    return store, read_agreement(load_run(plan))


@pytest.mark.long
def test_the_agreement_equals_that_of_two_audits(world, monkeypatch):
    monkeypatch.setattr("fastif.evaluation.curvature_agreement.TOLERANCE", 1e-5)
    study = write(world, "sampled", ROWS)
    store, record = measure(study)
    assert [point.rows for point in record.measured.points] == [5, 10, 20]
    assert record.measured.queries == QUERIES
    tables = []
    for some in (study, write(world, "all", "all")):
        other, run = tiny.run_directly(some)
        tables.append(other.scan("scores", run).collect())
    pairs = tables[0].join(tables[1], on=["query", "train"])
    chosen = sample_rows(tiny.QUERIES, QUERIES, SEED).tolist()
    each = [pairs.filter(query=query) for query in chosen]
    assert all(len(rows) == tiny.TRAIN for rows in each)
    exact = [pearsonr(rows["removal_effect"], rows["removal_effect_right"])[0] for rows in each]
    point = record.measured.in_use
    assert point.pearson == pytest.approx(sum(exact) / len(exact), abs=1e-3)
    run = plan_run(study).record.run
    summary = read_summary(store, run, study)
    assert summary.agreement == record
    line = dict(summary.evidence)["agreement"]
    assert f"correlation of effects {point.pearson:.2f}" in line
    low = [text for text in summary.warnings if "correlate only" in text]
    assert len(low) == (point.pearson < 0.9)


@pytest.mark.long
@pytest.mark.parametrize(("rows", "is_less"), [(ROWS, True), (tiny.TRAIN // 2, False)])
def test_the_time_of_twice_the_rows_is_that_of_a_study_with_them(world, monkeypatch, rows, is_less):
    fast = Rates(prefix=0.0, forward=1e-6, gradient=1e-4, product=1e-8)
    monkeypatch.setattr(calibration, "calibrate", lambda context: fast)
    study = write(world, "sampled", rows)
    plan = plan_run(study)
    open_store(plan)
    for step in (describe_train, factor_curvature):
        step.fn(plan.ref)
    STAGE_TIMER.restart()
    measure_agreement.fn(plan.ref)
    record = read_agreement(load_run(plan))

    def forecast(path):
        context = load_run(plan_run(path))
        return forecast_run(context, context.plan.record.list_shards()).seconds_without_agreement

    assert record.seconds == pytest.approx(forecast(study))
    expected = forecast(write(world, "twice", 2 * rows)) if is_less else None
    assert record.twice_seconds == (None if expected is None else pytest.approx(expected))
    assert ("instead of" in f"{record}") <= is_less


@pytest.mark.default_cases("sections0")
@pytest.mark.parametrize(
    "sections",
    [
        {"curvature": {"rows": "all"}},
        {"solver": {"kind": "cg"}},
        {"candidates": {"kind": "sketch", "k": 9, "rescore": False, "check": 2}},
    ],
)
def test_nothing_is_measured_where_there_is_nothing_to_compare(world, sections):
    assert measure(write(world, "none", ROWS, **sections))[1] is None


def test_a_measurement_above_its_share_is_left_out_and_said(world, monkeypatch):
    slow = Rates(prefix=0.0, forward=0.1, gradient=10.0, product=0.0)
    monkeypatch.setattr(calibration, "calibrate", lambda context: slow)
    study = write(world, "slow", ROWS)
    _, record = measure(study)
    assert record.measured is None
    context = load_run(plan_run(study))
    allowed = 0.15 * forecast_run(context, context.plan.record.list_shards()).seconds
    assert f"{record}" == (
        "with the curvature of all rows not measured: it would take about 50 min, and "
        f"{format_duration(allowed)} are left for it: 15 % of the audit"
    )


@pytest.mark.long
def test_a_reason_holds_for_its_run_alone(world, monkeypatch):
    slow = Rates(prefix=0.0, forward=0.1, gradient=10.0, product=0.0)
    monkeypatch.setattr(calibration, "calibrate", lambda context: slow)
    _, record = measure(write(world, "slow", ROWS))
    assert record.lacks
    monkeypatch.setattr(calibration, "calibrate", lambda context: replace(slow, gradient=1e-4))
    _, same = measure(write(world, "slow", ROWS))
    assert same == record
    study = write(world, "slow", ROWS, candidates={"kind": "knn", "k": 5, "check": 0})
    _, measured = measure(study)
    assert measured.measured is not None


@pytest.mark.long
def test_of_several_models_the_first_of_the_average_is_measured_and_named(world):
    tiny.make_other(world, "second", seed=3)
    auto = {"curvature": {"rows": ROWS, "damping": "auto"}, "top": {"models": ["second"]}}
    study = write(world, "two", ROWS, **auto)
    context = load_run(plan_run(study))
    store = open_store(context.plan)
    for member, agreement in zip(context.members, (0.0, 1.0), strict=True):
        by_query = tuple(agreement + 0.01 * (i % 3) for i in range(tiny.QUERIES))
        choice = DampingSelection(0.05, "retraining", (0.05,), (agreement,), 0.0, by_query)
        DAMPING.write(store, damping_digest(member), choice)
    _, record = measure(study)
    alone = write(world, "one", ROWS, model={"path": "second"})
    _, expected = measure(alone)
    assert record.model == "second"
    assert record.measured.points == pytest.approx(expected.measured.points)
    assert "of model second" in f"{record}"
    assert parse_agreement(AGREEMENT.make_record(record)) == record
    _, same = measure(write(world, "two", ROWS, model={"path": "second"}))  # in the same store
    assert same == replace(record, model="")


@pytest.mark.long
def test_rows_that_are_wrong_with_certainty_have_no_scores_to_compare(world):
    """A head of huge weights gives wrong predictions the probability 1, and no curvature."""
    model = BertForSequenceClassification.from_pretrained(world / "model")
    model.classifier.weight.data *= 15
    model.save_pretrained(world / "model")
    _, record = measure(write(world, "sure", ROWS))
    assert record.lacks == "some training rows have a gradient, but no curvature"
