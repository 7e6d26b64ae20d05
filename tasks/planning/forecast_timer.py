"""What an audit is expected to take, kept until it is known what it took."""

import resource
import sys
from dataclasses import dataclass

from storage import Store
from tasks.planning.actuals import Outcome
from tasks.planning.forecast import Forecast, forecast
from tasks.run.context import Job
from tasks.run.spec import planned_shards
from tasks.runtime.stage_timer import CLOCK


@dataclass(frozen=True)
class Expected:
    """A forecast, and the size of the store when it was made."""

    forecast: Forecast
    held: int

    def outcome(self, store: Store, run: str) -> Outcome:
        """The forecast beside what has been measured since."""
        said, took = self.forecast.compared, CLOCK.seconds
        names = [*said, *(name for name in took if name not in said)]
        return Outcome(
            {name: (said.get(name, 0.0), took.get(name, 0.0)) for name in names},
            (self.forecast.memory, peak_memory()),
            (self.forecast.disk, _held(store, run) - self.held),
        )


def expect(job: Job, store: Store) -> Expected:
    """Forecast what is missing of a run, and begin to measure."""
    found = forecast(job, planned_shards(job.plan))
    CLOCK.restart()
    return Expected(found, _held(store, job.plan.record.run))


def peak_memory() -> int:
    """The most bytes that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # elsewhere it is in kibibytes


def _held(store: Store, run: str) -> int:
    return store.bytes_on_disk(run) + store.bytes_of_parts()
