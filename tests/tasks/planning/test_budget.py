"""Settings for a time budget: their forecast, their order, their record, and refusals."""

from dataclasses import replace

import pytest
import tiny

from fastif import InputError
from fastif.solvers.settings import ConjugateGradientSettings, DualSettings
from storage import StoreError
from tasks.planning import calibration, options
from tasks.planning.calibration import Rates
from tasks.planning.open_run import load_run, settle_plan
from tasks.planning.options import estimate_options, select_option
from tasks.planning.start_run import start_run
from tasks.run.budget_selection import Option, Settings
from tasks.run.selections import BUDGET
from tasks.run.spec import plan_run
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import SketchSection
from tasks.study.study import StudyError, load_study

SLOW = Rates(prefix=0.0, forward=1e-6, gradient=0.1, product=0.01)
FULL, SKETCH = FullScanSection(), SketchSection(target_recall=0.95)
SKETCHES_OF_ALL = {"k": tiny.TRAIN, "rescore": False, "check": 2}
SKETCH_SCORES = SketchSection(k=200, rescore=False)


@pytest.fixture
def slow(monkeypatch):
    """A machine on which a gradient takes a tenth of a second, and samples of 8 and 16 rows."""
    monkeypatch.setattr(calibration, "calibrate", lambda context: SLOW)
    monkeypatch.setattr(options, "SAMPLE_SIZES", (16, 8))


def write(world, budget="20min", kind="auto", **sections):
    run = {"budget": budget, "shard_size": 16}
    candidates = {"kind": kind, "check": 2} if kind == "auto" else {"kind": kind}
    return tiny.write_study(world, run=run, candidates=candidates, **sections)


def select(world, **keys):
    return settle_plan(plan_run(write(world, **keys))).selection


def test_a_large_budget_takes_all_rows_and_a_full_scan(world, slow):
    selection = select(world, budget="90h")
    assert (selection.option.settings.rows, selection.option.settings.candidates) == (None, FULL)


def test_settings_fit_into_the_budget_by_their_forecast(world, slow):
    seconds = {}
    context = load_run(plan_run(write(world, budget="90h")))
    for option in estimate_options(context):
        if not option.lacks:
            seconds[f"{option.settings}"] = option.seconds
    tried = sorted(seconds.values())
    chosen = set()
    for limit in tried[:4]:
        budget = f"{limit / 0.84:.3f}s"
        selection = select(world, budget=budget)
        assert selection.option.seconds <= limit * 1.02
        chosen.add(f"{selection.option.settings}")
    assert len(chosen) == 3, "two of them with the scores of sketches, then all rows"


def test_a_budget_that_nothing_fits_is_refused_with_the_cheapest(world, slow):
    with pytest.raises(InputError) as refusal:
        settle_plan(plan_run(write(world, budget="1s")))
    error = refusal.value
    assert (error.where, error.got) == ("[run] budget", "1s")
    assert "min, for the cheapest settings: " in error.expected
    assert 'Set budget = "' in error.remedy
    needed = error.remedy.split('"')[1]
    assert select(world, budget=needed).option.seconds > 0


@pytest.mark.long
def test_a_selection_is_kept_on_a_faster_machine_and_known_by_the_run(world, monkeypatch, slow):
    limit = min(option.seconds for option in estimate(world) if not option.lacks)
    study = write(world, budget=f"{limit / 0.84:.3f}s")
    plan = start_run(plan_run(study)).plan
    assert plan.selection.option.settings == Settings(
        8, DualSettings(), SketchSection(**SKETCHES_OF_ALL)
    )
    assert "Scores are approximate" in plan.selection.reason
    quick = Rates(prefix=0.0, forward=1e-9, gradient=1e-9, product=1e-9)
    monkeypatch.setattr(calibration, "calibrate", lambda context: quick)
    again = plan_run(study)
    assert (again.record.run, again.selection) == (plan.record.run, plan.selection)
    without = tiny.write_study(
        world, run={"shard_size": 16}, candidates={"kind": "auto", "check": 2}
    )
    by_name = plan_run(without, plan.record.run)  # in a process that knows only the run's name
    assert by_name.record.fingerprint == plan.record.fingerprint
    assert BUDGET.parse(BUDGET.make_record(plan.selection)) == plan.selection


@pytest.mark.long
def test_settings_that_are_set_since_replace_those_selected_before(world, slow):
    limit = min(option.seconds for option in estimate(world) if not option.lacks)
    budget = f"{limit / 0.84:.3f}s"
    selected = start_run(plan_run(write(world, budget=budget))).plan
    assert selected.record.parts["curvature"]["rows"] == 8
    for sections in [{"curvature": {"rows": "all"}}, {"solver": None}, {"kind": "full"}]:
        again = plan_run(write(world, budget=budget, **sections))
        assert not again.is_settled, sections
    for sections in [{"curvature": {"rows": "all"}}, {"curvature": {"rows": 9}}, {"kind": "full"}]:
        by_name = plan_run(write(world, budget=None, **sections), selected.record.run)
        assert by_name.record.fingerprint != selected.record.fingerprint, sections
        with pytest.raises(StoreError, match="was started with"):
            start_run(by_name)


def test_sizes_of_the_solver_are_those_that_the_study_sets_now(world, slow):
    plan = start_run(plan_run(write(world, solver={"kind": "dual", "memory_mb": 50}))).plan
    for budget, run in [("20min", None), (None, plan.record.run)]:
        study = write(world, budget=budget, solver={"kind": "dual", "memory_mb": 60})
        again = plan_run(study, run)
        assert (again.record.run, again.selection) == (plan.record.run, plan.selection)
        assert again.inputs.study.solver == DualSettings(memory_mb=60)


def estimate(world):
    return estimate_options(load_run(plan_run(write(world, budget="90h"))))


def test_the_name_is_that_of_the_settings_written_into_the_study(world, slow):
    plan = settle_plan(plan_run(write(world, budget="90h")))
    given = tiny.write_study(world, candidates={"kind": "full"}, curvature={"rows": "all"})
    assert plan.record.run == settle_plan(plan_run(given)).record.run


def test_the_option_takes_the_place_of_the_key(world, slow):
    study = write(world, budget="1s")
    plan = settle_plan(plan_run(study, budget="90h"))
    assert plan.selection.budget == "90h"


def test_settings_of_the_study_are_kept(world, slow):
    plan = settle_plan(plan_run(write(world, budget="90h", kind="full", curvature={"rows": 9})))
    assert plan.selection.option.settings == Settings(9, DualSettings(), FULL)
    assert plan.selection.option.keys == ()


def option(rows, candidates, seconds, solver=None, lacks=""):
    return Option(
        Settings(rows, solver or DualSettings(), candidates), seconds=seconds, lacks=lacks
    )


ALL, HALF = option(None, FULL, 900.0), option(512, FULL, 300.0)
FEW, SCORES = option(256, FULL, 200.0), option(512, SKETCH_SCORES, 50.0)
FOUND = option(512, SKETCH, 250.0)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1e9, ALL), (500, HALF), (260, FOUND), (210, FEW), (60, SCORES), (10, None)],
)
def test_the_order_of_preference(limit, expected):
    assert select_option([FEW, SCORES, FOUND, HALF, ALL], limit) == expected


def test_the_quicker_of_two_equal_ones_is_taken_and_none_that_lacks_something():
    cg = option(None, FULL, 700.0, ConjugateGradientSettings(preconditioner="drawn", rank=4000))
    assert select_option([ALL, cg], 1e9) == cg
    assert select_option([replace(cg, lacks="memory"), HALF], 1e9) == HALF


@pytest.mark.parametrize("value", [20, 1.5, True, "20", "fast", "0s", "-5min", ""])
def test_other_budgets_are_refused_with_an_example(world, value):
    with pytest.raises(StudyError) as refusal:
        load_study(write(world, budget=value))
    text = str(refusal.value)
    assert "[run] budget\n" in text
    assert 'a duration with its unit, in quotes, such as "20min"' in text
    minutes = 1.5 if value == 1.5 else 20
    assert f'write "{minutes}min"' in text.split("remedy:")[1]


def test_minutes_and_a_budget_are_one_too_many(world):
    study = tiny.write_study(
        world, run={"budget": "9min"}, candidates={"kind": "auto", "minutes": 9.0}
    )
    with pytest.raises(StudyError, match=r"\[candidates\] minutes"):
        load_study(study)


def test_options_that_the_study_rules_out_are_not_offered(world, slow):
    study = write(world, budget="90h", curvature={"leverage": "on"})
    available = [o for o in estimate_options(load_run(plan_run(study))) if not o.lacks]
    assert {o.settings.rows for o in available} == {None}
