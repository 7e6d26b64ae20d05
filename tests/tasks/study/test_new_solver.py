"""A new solver needs one file and one entry: this file defines one and audits with it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator
from fastif.solvers.check_positive import check_positive
from fastif.solvers.cost import SolverCost, SolverProblem
from fastif.solvers.lanczos import max_eigenvalue
from fastif.solvers.registry import SOLVERS
from fastif.solvers.solver import Factor, Solution, Solver, measure_residual, solve_finite_rows

DAMPING = 0.1


@dataclass(frozen=True)
class Richardson(Solver):
    """x ← x + (b - A x) / s, `steps` times, s being the largest eigenvalue."""

    remedy: ClassVar[str] = "Raise the damping."

    steps: int = 100
    tolerance: float = 1e-3
    kind: Literal["richardson"] = "richardson"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        return SolverCost(problem.rows * (self.steps + 1), 20 * problem.rows)

    def factor(self, operator: DampedOperator) -> Factor:
        return {"scale": torch.tensor(max_eigenvalue(operator), dtype=torch.float64)}

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        scale = float((factor or self.factor(operator))["scale"])
        return solve_finite_rows(operator, rhs, lambda rows: self._solve(operator, rows, scale))

    def _solve(self, operator: DampedOperator, rhs: Tensor, scale: float) -> Solution:
        value = torch.zeros_like(rhs)
        for _ in range(self.steps):
            value += (rhs - operator.apply(value)) / scale
        residual = measure_residual(operator, value, rhs)
        return Solution(value, residual, residual <= self.tolerance, self.steps, operator.damping)


@pytest.mark.long
def test_a_solver_of_the_registry_is_planned_forecast_and_audited_with(world):
    import tiny
    from truth import Truth

    settings = {"kind": "richardson", "steps": 400, "tolerance": 1e-4}
    study = tiny.write_study(
        world,
        solver=settings,
        curvature={"damping": DAMPING},
        parameters={"attributed": ["^classifier"]},
        candidates={"kind": "full", "keep": tiny.TRAIN},
        run={"shard_size": tiny.QUERIES, "batch_size": tiny.TRAIN},
    )
    done = subprocess.run(
        [sys.executable, __file__, study],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])

    assert report["recorded"] == settings
    assert report["forecast"]["curvature"] > 0
    assert report["forecast"]["solve"] > 0
    assert report["examples"] == tiny.TRAIN * 401  # rows, sweeps
    assert report["again"]["curvature"] == 0, "the factor was not kept"
    assert set(report["solvers"]) == {"richardson"}
    assert all(report["converged"])

    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    expected = Truth(world / "model", *rows, ("classifier.",)).effects(DAMPING)
    actual = torch.full_like(expected, torch.nan)
    for query, train, effect in report["effects"]:
        actual[query, train] = effect
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_row_is_named_as_its_class_names_itself():
    for kind, solver in SOLVERS.items():
        assert solver().kind == kind


def _audit(study: Path) -> dict[str, object]:
    """Plan, forecast and audit; imported late, since the study reads the registry once."""
    import tiny

    from tasks.planning.cost_model import estimate_work
    from tasks.planning.forecast import forecast_run
    from tasks.planning.open_run import load_run
    from tasks.planning.workload import make_workload
    from tasks.run.spec import plan_run

    context = load_run(plan_run(study))
    shards = context.plan.record.list_shards()
    forecast, work = forecast_run(context, shards), estimate_work(make_workload(context, shards))
    store, run = tiny.run_directly(study)
    again = load_run(plan_run(study))
    return {
        "recorded": context.plan.record.parts["solver"],
        "forecast": forecast.stages,
        "examples": work["solve"].gradients,
        "again": forecast_run(again, shards).stages,
        "solvers": store.scan("solves", run).collect()["solver"].to_list(),
        "converged": store.scan("solves", run).collect()["converged"].to_list(),
        "effects": store.scan("scores", run)
        .select("query", "train", "removal_effect")
        .collect()
        .rows(),
    }


if __name__ == "__main__":
    SOLVERS["richardson"] = Richardson
    print(json.dumps(_audit(Path(sys.argv[1]))))
