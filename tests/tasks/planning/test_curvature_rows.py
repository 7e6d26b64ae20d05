"""The number of curvature rows that a study leaves open: its rule, its record, its permanence."""

import json
from dataclasses import replace

import pytest
import tiny

from tasks.planning import curvature_rows
from tasks.planning.curvature_rows import estimate_nominal_seconds, select_rows
from tasks.planning.forecast import forecast_run, render_forecast
from tasks.planning.open_run import load_run, settle_plan
from tasks.planning.start_run import start_run
from tasks.planning.workload import make_solver_problem
from tasks.results.summary import read_summary
from tasks.run.curvature import make_gauss_newton
from tasks.run.method_choice import method_digest
from tasks.run.selections import METHOD
from tasks.run.spec import open_store, plan_run
from tasks.study.study import StudyError, load_study

ROWS = 8


@pytest.fixture
def expensive(monkeypatch):
    """Every number of rows exceeds the limit, so that the least is taken."""
    monkeypatch.setattr(curvature_rows, "LIMIT_SECONDS", 0.0)
    monkeypatch.setattr(curvature_rows, "MIN_ROWS", ROWS)


def write(world, name="study.toml", **curvature):
    return tiny.write_study(world, name, curvature=curvature, store={"path": f"store of {name}"})


def test_all_rows_of_a_small_study_whether_omitted_or_named(world):
    plans = [
        settle_plan(plan_run(write(world, **keys)))
        for keys in ({}, {"rows": "all"}, {"rows": "auto"})
    ]
    assert len({plan.record.fingerprint for plan in plans}) == 1
    assert {plan.record.parts["curvature"]["rows"] for plan in plans} == {None}
    assert all(plan.is_settled for plan in plans)
    assert len(make_gauss_newton(*operands(plans[0])).ids) == tiny.TRAIN


@pytest.mark.long
def test_a_sample_has_the_name_and_the_rows_of_one_that_is_set(world, expensive):
    selected, given = (settle_plan(plan_run(write(world, **keys))) for keys in ({}, {"rows": ROWS}))
    assert selected.record.run == given.record.run
    assert selected.record.parts == given.record.parts
    ids = [make_gauss_newton(*operands(plan)).ids.tolist() for plan in (selected, given)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == ROWS
    assert given.rows is None


def operands(plan):
    context = load_run(plan)
    return context, context.train_examples


def test_the_rows_are_the_largest_power_of_two_within_the_limit(world, monkeypatch):
    context = load_run(plan_run(write(world)))
    monkeypatch.setattr(curvature_rows, "MIN_ROWS", 2)
    seconds = {rows: estimate_nominal_seconds(context, rows) for rows in (2, 4, 8, 16, 32, 60)}
    assert sorted(seconds.values()) == list(seconds.values())
    for rows in (2, 4, 8, 16, 32):
        monkeypatch.setattr(curvature_rows, "LIMIT_SECONDS", 1.001 * seconds[rows])
        assert select_rows(context).rows == rows
    monkeypatch.setattr(curvature_rows, "LIMIT_SECONDS", seconds[60])
    assert select_rows(context).rows is None


def test_no_more_rows_than_the_solver_has_memory_for(world, monkeypatch):
    train = tiny.rows_of(world / "train.csv")
    rows = [{**row, "id": f"{i}-{row['id']}"} for i in range(10) for row in train]
    tiny.write_rows(world / "train.csv", rows)
    context = load_run(plan_run(tiny.write_study(world, solver={"kind": "dual", "memory_mb": 1})))
    selection = select_rows(context)  # 8 x 256 x 256 bytes are 0.5 MB, 8 x 512 x 512 are 2.1 MB
    assert selection.rows == 256
    assert "memory_mb" in selection.reason
    monkeypatch.setattr(curvature_rows, "MIN_ROWS", 400)
    assert select_rows(context).rows == 256


@pytest.mark.default_cases("sections0")
@pytest.mark.parametrize(
    "sections",
    [
        {"run": {"shard_size": 1}},
        {"run": {"batch_size": 7}},
        {"solver": {"kind": "dual", "block_rows": 1}},
    ],
)
def test_sizes_that_change_only_speed_do_not_change_the_rows(world, sections):
    contexts = [load_run(plan_run(tiny.write_study(world, **keys))) for keys in (sections, {})]
    first, second = (estimate_nominal_seconds(context, 32) for context in contexts)
    assert first == second


@pytest.mark.parametrize(
    "solver", [{"kind": "cg"}, {"kind": "dual", "rank": 5}, {"kind": "spectral"}]
)
def test_solvers_of_linear_cost_keep_all_rows(world, expensive, solver):
    study = tiny.write_study(world, solver=solver)
    assert select_rows(load_run(plan_run(study))).rows is None


def test_a_leverage_correction_that_is_set_keeps_all_rows(world, expensive):
    assert select_rows(load_run(plan_run(write(world, leverage="on")))).rows is None
    assert select_rows(load_run(plan_run(write(world, leverage="auto")))).rows == ROWS


@pytest.mark.long
def test_the_selection_outlives_the_limit_and_the_tables(world, monkeypatch):
    study = write(world)
    with monkeypatch.context() as patch:
        patch.setattr(curvature_rows, "LIMIT_SECONDS", 0.0)
        patch.setattr(curvature_rows, "MIN_ROWS", ROWS)
        first = start_run(plan_run(study)).plan
    again = plan_run(study)  # without loading the model
    assert again.is_settled
    assert again.record.run == first.record.run
    rows = tiny.rows_of(world / "train.csv")
    tiny.write_rows(world / "train.csv", rows[:-1])
    later = plan_run(study)
    assert later.record.parts["curvature"]["rows"] == ROWS
    assert later.record.run != first.record.run
    assert later.rows == first.rows


@pytest.mark.long
def test_a_table_that_has_fewer_rows_than_the_sample_is_taken_whole(world, expensive):
    study = tiny.write_study(world, candidates={"kind": "full"})
    start_run(plan_run(study))
    for count, text in [(ROWS + 1, "all 60 rows would take"), (ROWS, "8 now, which are all taken")]:
        tiny.write_rows(world / "train.csv", tiny.rows_of(world / "train.csv")[:count])
        context = load_run(plan_run(study))
        assert context.study.curvature.sample_size == ROWS
        assert text in show(context)
        matrix = make_gauss_newton(context, context.train_examples)
        assert len(matrix.ids.unique()) == ROWS


@pytest.mark.long
def test_a_store_with_runs_of_all_rows_keeps_them_and_says_so(world, monkeypatch):
    study = write(world)
    first = start_run(plan_run(study)).plan
    monkeypatch.setattr(curvature_rows, "LIMIT_SECONDS", 0.0)
    monkeypatch.setattr(curvature_rows, "MIN_ROWS", ROWS)
    context = load_run(plan_run(study))
    assert context.plan.record.run == first.record.run
    assert context.plan.record.parts["curvature"]["rows"] is None
    text = show(context)
    assert "Earlier runs with these settings used all rows" in text
    assert f"set [curvature] rows = {ROWS}" in text


def show(context):
    from rich.console import Console

    console = Console(width=400)
    with console.capture() as capture:
        console.print(render_forecast(forecast_run(context, []), context.plan))
    return capture.get()


@pytest.mark.long
def test_the_selection_is_in_the_record_and_in_the_summary(world, expensive):
    study = write(world)
    start_run(plan_run(study))
    store, run = tiny.run_directly(study)
    column = json.loads(store.scan("runs", run).collect()["curvature"].item())
    assert column["rows"] == ROWS
    assert column["rows_choice"]["train_rows"] == tiny.TRAIN
    lines = dict(read_summary(store, run, study).evidence)
    assert lines["curvature rows"].startswith(f"{ROWS}, a random sample of the training rows. ")
    assert f"all {tiny.TRAIN} rows" in lines["curvature rows"]


@pytest.mark.parametrize("value", ["some", True, 0, 1.5])
def test_other_values_are_refused(world, value):
    with pytest.raises(StudyError, match=r"\[curvature\] rows"):
        load_study(write(world, rows=value))


@pytest.mark.long
def test_a_method_that_another_process_selects_first_is_used(world, expensive):
    study = tiny.write_study(world, candidates={"kind": "auto", "check": 2})
    plan = settle_plan(plan_run(study))
    choice = load_run(plan).plan.method
    (other, *_) = (offer.name for offer in choice.offers if offer.name != choice.name)
    METHOD.write(open_store(plan), method_digest(plan.record), replace(choice, name=other))
    context = start_run(plan)
    assert context.plan.method.name == other
    assert context.study.candidates == context.plan.method.selected.candidates


def test_products_are_counted_by_factors_where_these_are_held(world, monkeypatch):
    """A perceptron's rows are held as factors, and take less than formed ones."""
    seconds = {}
    for share in (0.5, 2.0):
        monkeypatch.setattr("fastif.gradients.tile_structure.MIN_SHARE", share)
        monkeypatch.setattr("fastif.gradients.tile_structure.MAX_OPERATIONS", 1e9)
        context = load_run(plan_run(write(world)))
        size = curvature_rows._count_product_size(context)
        assert (size == context.objective.space.size) is (share == 2.0)
        seconds[size] = estimate_nominal_seconds(context, 60)
    (size, other), (own, formed) = seconds, seconds.values()
    problem = replace(make_solver_problem(context), rows=60)
    products = context.solver.estimate_cost(problem).factor_products
    assert formed - own == pytest.approx(2 * products * (other - size) / 5e10)


def test_more_models_take_as_many_times_as_long(world):
    context = load_run(plan_run(write(world)))
    two = replace(context, others=(context,))
    assert estimate_nominal_seconds(two, 9) == pytest.approx(
        2 * estimate_nominal_seconds(context, 9)
    )
