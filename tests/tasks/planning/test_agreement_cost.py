"""The agreement of a sampled curvature is measured where the audit leaves time for it."""

import pytest
import tiny
from rich.console import Console

from tasks.planning import calibration, curvature_rows
from tasks.planning.calibration import Rates
from tasks.planning.forecast import forecast_run, render_forecast
from tasks.planning.open_run import load_run
from tasks.planning.start_run import start_run
from tasks.run.spec import plan_run

ROWS = 8
PASS = tiny.TRAIN + 2 * ROWS
"""Gradients of one pass over all rows, and two of each row of the sample."""


@pytest.fixture
def forecast(world, monkeypatch):
    """Forecast a study on a machine of a given speed, where "auto" samples eight rows."""
    monkeypatch.setattr(curvature_rows, "LIMIT_SECONDS", 0.0)
    monkeypatch.setattr(curvature_rows, "MIN_ROWS", ROWS)

    def estimate(gradient, rows="auto", budget=None):
        rates = Rates(prefix=0.0, forward=0.0, gradient=gradient, product=0.0)
        monkeypatch.setattr(calibration, "calibrate", lambda context: rates)
        study = tiny.write_study(
            world,
            candidates={"kind": "full"},
            curvature={"rows": rows},
            run={"shard_size": 16, "budget": budget},
        )
        context = load_run(plan_run(study))
        return forecast_run(context, context.plan.record.list_shards())

    return estimate


def list_seconds(forecast):
    agreement = forecast.stages.get("agreement", 0.0)
    return agreement, sum(forecast.stages.values()) - agreement


@pytest.mark.long
def test_selected_rows_are_measured_in_the_time_that_is_left_of_a_quarter_of_an_hour(forecast):
    _, rest = list_seconds(forecast(1.0))
    measured = []
    for share in (0.2, 0.5, 0.8, 0.95, 1.1, 3.0):
        gradient = share * 900 / rest
        agreement, other = list_seconds(forecast(gradient))
        assert other == pytest.approx(share * 900)
        passes = min(4, max(900 - other, 0.15 * other) // (PASS * gradient))
        assert agreement == pytest.approx(passes * PASS * gradient if passes >= 3 else 0.0)
        measured.append(agreement > 0)
    assert measured == sorted(measured, reverse=True)
    assert measured[0] > measured[-1]


def test_rows_that_the_study_sets_are_measured_beside_a_longer_audit_only(forecast):
    assert list_seconds(forecast(0.5, ROWS))[0] == 0.0 < list_seconds(forecast(0.5))[0]
    assert list_seconds(forecast(0.001, ROWS))[0] == pytest.approx(4 * PASS * 0.001)


@pytest.mark.long
def test_the_audit_and_its_measurement_stay_within_the_budget(forecast):
    _, rest = list_seconds(forecast(0.5))
    measured = set()
    for share in (0.3, 0.5, 0.84):
        budget = rest / share
        agreement, other = list_seconds(forecast(0.5, ROWS, f"{budget:.3f}s"))
        assert other + agreement <= budget
        measured.add(agreement > 0)
    assert measured == {True, False}


def test_settings_kept_from_a_quicker_night_are_shown_to_exceed_the_budget(world, forecast):
    assert not forecast(0.1, ROWS, "30min").excess
    start_run(plan_run(world / "study.toml"))
    later = forecast(100.0, ROWS, "30min")
    assert "above the budget of 30min" in f"{later}"
    plan = plan_run(world / "study.toml")
    console = Console(width=300)
    with console.capture() as capture:
        console.print(render_forecast(later, plan))
    assert "above the budget of 30min" in capture.get()
