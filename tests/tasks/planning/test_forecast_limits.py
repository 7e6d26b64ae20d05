"""A forecast goes by what is there, not by a setting that is far above it."""

import pytest
import tiny

from tasks.planning import calibration
from tasks.planning.calibration import Rates
from tasks.planning.forecast import forecast_run
from tests.tasks.planning.planned_study import plan_study

FIXED = Rates(prefix=1e-3, forward=1e-3, gradient=1e-2, product=1e-4)
HUGE = 10**8
SKETCH = {"kind": "sketch", "k": 9}
CASES = [
    ({"run": {"shard_size": HUGE}}, {"run": {"shard_size": tiny.QUERIES}}),
    ({"run": {"batch_size": HUGE}}, {"run": {"batch_size": tiny.TRAIN}}),
    ({"run": {"prefix_cache_mb": HUGE}}, {"run": {"prefix_cache_mb": 100}}),
    ({"candidates": SKETCH | {"check": HUGE}}, {"candidates": SKETCH | {"check": tiny.QUERIES}}),
    (
        {"candidates": SKETCH | {"dimensions": HUGE}},
        {"candidates": SKETCH | {"dimensions": tiny.TRAIN}},
    ),
    (
        {"candidates": {"kind": "full", "keep": HUGE}},
        {"candidates": {"kind": "full", "keep": tiny.TRAIN}},
    ),
    ({"certificate": {"rows": HUGE}}, {"certificate": {"rows": tiny.TRAIN}}),
    (
        {"solver": {"kind": "dual", "rank": HUGE}},
        {"solver": {"kind": "dual", "rank": tiny.TRAIN}},
    ),
    (
        {"solver": {"kind": "cg", "preconditioner": "eigen", "rank": HUGE}},
        {"solver": {"kind": "cg", "preconditioner": "eigen", "rank": 10**4}},
    ),
    ({"solver": {"kind": "cg", "max_steps": HUGE}}, {"solver": {"kind": "cg", "max_steps": 1000}}),
]


@pytest.mark.default_cases(
    "run-run0",
    "candidates-candidates0",
    "certificate-certificate",
    "solver-solver0",
)
@pytest.mark.parametrize(("huge", "limit"), CASES, ids=lambda case: "-".join(case))
def test_a_setting_above_what_is_there_costs_no_more(world, monkeypatch, huge, limit):
    monkeypatch.setattr(calibration, "calibrate", lambda context: FIXED)
    first, second = (forecast(world, sections) for sections in (huge, limit))
    assert first.stages == second.stages
    assert first.memory == second.memory
    assert first.disk == second.disk
    assert first.pairs == second.pairs


def forecast(world, sections):
    _, context = plan_study(tiny.write_study(world, **sections))
    return forecast_run(context, context.plan.record.list_shards())
