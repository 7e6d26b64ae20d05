"""Timer that compares the forecast of an audit with the actual values."""

import resource
import sys
from dataclasses import dataclass

from storage import Store
from tasks.planning.actuals import ForecastVsActual
from tasks.planning.forecast import forecast_run
from tasks.planning.forecast_record import Forecast
from tasks.run.context import RunContext
from tasks.run.spec import list_planned_shards
from tasks.runtime.stage_timer import STAGE_TIMER


@dataclass(frozen=True)
class ForecastTimer:
    """Forecast, and the size of the store when it was made.

    Attributes:
        forecast: Forecast of the remaining work.
        bytes_before: Size in bytes of the run and of all artifacts.
    """

    forecast: Forecast
    bytes_before: int

    def compare_with_actual(self, store: Store, run: str) -> ForecastVsActual:
        """Return the forecast with the values measured since."""
        predicted, actual = self.forecast.comparable_stages, STAGE_TIMER.seconds
        names = [*predicted, *(name for name in actual if name not in predicted)]
        return ForecastVsActual(
            {name: (predicted.get(name, 0.0), actual.get(name, 0.0)) for name in names},
            (self.forecast.memory, measure_peak_memory()),
            (self.forecast.disk, _count_stored_bytes(store, run) - self.bytes_before),
        )


def start_forecast_timer(context: RunContext, store: Store) -> ForecastTimer:
    """Forecast the remaining work of a run, and start to measure it."""
    run_forecast = forecast_run(context, list_planned_shards(context.plan))
    STAGE_TIMER.restart()
    return ForecastTimer(run_forecast, _count_stored_bytes(store, context.plan.record.run))


def measure_peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux reports kibibytes


def _count_stored_bytes(store: Store, run: str) -> int:
    return store.count_run_bytes(run) + store.count_artifact_bytes()
