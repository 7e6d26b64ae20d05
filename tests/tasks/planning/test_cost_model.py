"""The forecast numbers of examples and products are those that are computed."""

import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from transformers import BertForSequenceClassification

import fastif
from fastif.candidates import GradientSketcher
from tasks.planning import cost_model
from tasks.planning.calibration import Rates
from tasks.planning.cost_model import WorkItems, estimate_work
from tasks.planning.workload import count_factor_examples, make_workload
from tasks.run.curvature import make_curvature, make_gauss_newton, make_operator, sample_rows
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.spec import list_planned_shards
from tasks.runtime.progress import ProgressExamples
from tests.tasks.planning.planned_study import plan_study


@pytest.mark.parametrize(
    ("rows", "batch", "block"),
    [(None, 4, 16), (None, 64, 1), (None, 7, 500), (1, 4, 16), (23, 1, 1), (23, 1, 8), (23, 7, 16)],
)
def test_a_factorization_takes_the_forecast_number_of_examples(world, rows, batch, block):
    study = tiny.write_study(
        world,
        solver={"kind": "dual", "block_rows": block},
        run={"batch_size": batch},
        curvature={"rows": rows},
        parameters={"attributed": ["^classifier"]},
    )
    _, context = plan_study(study)
    taken = []
    curvature = make_curvature(
        context, ProgressExamples(get_train_examples(context), taken.append), context.damping
    )
    factor = context.solver.factor(curvature)
    # One more may be read first, to count its columns.
    assert sum(taken) - count_factor_examples(context) in (0, 1)
    assert len(factor["kernel"]) == (rows or tiny.TRAIN)


def test_each_factor_row_of_three_labels_is_counted(world, monkeypatch):
    names = {0: "neg", 1: "pos", 2: "none"}
    model = BertForSequenceClassification.from_pretrained(
        world / "model",
        id2label=names,
        label2id={name: unit for unit, name in names.items()},
        ignore_mismatched_sizes=True,
    )
    shutil.copytree(world / "model", world / "three")
    model.save_pretrained(world / "three")
    study = tiny.write_study(
        world,
        top={"labels": list(names.values())},
        model={"path": "three"},
        solver={"kind": "dual", "block_rows": 16},
        run={"batch_size": 8},
        curvature={"rows": 23},
    )
    plan, context = plan_study(study)
    passed, real = [], fastif.GaussNewton.factor_rows

    def count_tiles(curvature, piece):
        for tile in real(curvature, piece):
            passed.append(len(tile))
            yield tile

    monkeypatch.setattr(fastif.GaussNewton, "factor_rows", count_tiles)
    kernel = context.solver.factor(make_operator(context))["kernel"]
    work = estimate_work(make_workload(context, list_planned_shards(plan)))["curvature"]
    assert sum(passed) == work.gradients
    assert kernel.shape == (46, 46)
    assert work.factor_products == kernel.numel() / 2


def test_the_sample_of_curvature_rows_is_fixed_sorted_and_distinct():
    assert torch.equal(sample_rows(9, None, 0), torch.arange(9))
    assert torch.equal(sample_rows(9, 9, 5), torch.arange(9))
    once, again, other = (sample_rows(1000, 100, seed) for seed in (3, 3, 4))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(once, once.unique())
    assert len(once) == 100
    assert once.max() < 1000


@pytest.mark.long
@pytest.mark.parametrize(
    ("curvature", "rows"), [(None, 20), (30, 0), (30, 20), (30, 512), (60, 20)]
)
def test_a_certificate_takes_the_forecast_number_of_examples(world, curvature, rows):
    study = tiny.write_study(
        world,
        curvature={"rows": curvature},
        certificate={"rows": rows},
        parameters={"attributed": ["^classifier"]},
    )
    _, context = plan_study(study)
    taken = []
    train = ProgressExamples(get_train_examples(context), taken.append)
    operator = make_curvature(context, train, 0.1)
    solver = context.solver
    factor = solver.factor(operator)
    counts = []
    for work in (
        lambda: solver.solve(operator, torch.ones(2, operator.size), factor),
        lambda: fastif.Attributor(
            context.objective,
            train,
            operator,
            solver,
            factor=factor,
            certify_rows=rows,
            leverage="off",
        ).solve(get_query_examples(context), torch.arange(2)),
    ):
        taken.clear()
        work()
        counts.append(sum(taken))
    workload = make_workload(context, ())
    control = cost_model._count_control_examples(workload)
    assert counts[1] - counts[0] == control + cost_model._count_residual_examples(workload)


@pytest.mark.long
def test_the_dual_solver_on_all_rows_takes_each_row_once_a_shard(world):
    for rows, candidates in ((None, {"kind": "full"}), (30, {"kind": "full"})):
        study = tiny.write_study(
            world, curvature={"rows": rows}, candidates=candidates, certificate={"rows": 0}
        )
        plan, context = plan_study(study)
        work = estimate_work(make_workload(context, list_planned_shards(plan)))
        expected = sum(work[name].gradients for name in ("solve", "certificate", "score"))
        factor = context.solver.factor(make_operator(context))
        taken = []
        attributor = fastif.Attributor(
            context.objective,
            train := ProgressExamples(get_train_examples(context), taken.append),
            make_curvature(context, train, context.damping),
            context.solver,
            factor=factor,
            certify_rows=0,
        )
        attributor(get_query_examples(context), torch.arange(2))
        taken.clear()
        for shard in list_planned_shards(plan):
            attributor(get_query_examples(context), torch.arange(shard.start, shard.stop))
        assert sum(taken) == expected, rows


def test_fitting_a_sketcher_takes_the_forecast_number_of_examples(world):
    candidates = {"kind": "sketch", "k": 7, "dimensions": 20, "width": 256}
    study = tiny.write_study(world, candidates=candidates, curvature={"rows": 40})
    _, context = plan_study(study)
    taken = []
    GradientSketcher.fit(
        make_gauss_newton(context, ProgressExamples(get_train_examples(context), taken.append)),
        0.1,
        dimensions=20,
        width=256,
        seed=0,
    )
    (work,) = make_workload(context, ()).index_costs
    assert (work.forwards, work.gradients - tiny.TRAIN) == (40, 2 * 20)
    assert sum(taken) == pytest.approx(40 + 2 * 20, abs=2 * 32), "one more batch for each"


def test_products_of_factor_rows_have_their_own_rate_if_one_was_measured():
    work = WorkItems(products=2.0, factor_products=3.0)
    rates = Rates(prefix=0.0, forward=0.0, gradient=0.0, product=1.0)
    assert work.estimate_seconds(rates) == 5.0
    assert work.estimate_seconds(replace(rates, factor_product=0.125)) == 2.375
