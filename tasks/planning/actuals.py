"""Forecast of an audit compared with the actual time, memory and disk."""

import json
from dataclasses import asdict, dataclass

GIGABYTE = 2**30


@dataclass(frozen=True)
class ForecastVsActual:
    """Forecast and actual values of one process; a resumed run covers the remaining work only.

    Attributes:
        seconds: (forecast, actual) seconds of each stage.
        memory: (forecast, actual) peak memory of the process in bytes, including earlier work
            of the process.
        disk: (forecast, actual) bytes added to the store.
    """

    seconds: dict[str, tuple[float, float]]
    memory: tuple[int, int]
    disk: tuple[int, int]

    def to_json(self) -> str:
        """Return JSON for the column `forecast` of the table `runs`."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        """Return one line for a summary.

        Examples:
            >>> gigabyte, seconds = 2**30, {"shards": (80, 90), "recall": (20, 15)}
            >>> print(ForecastVsActual(seconds, (gigabyte, gigabyte), (0, 0)))
            time 105 s (forecast 100 s); peak memory 1.0 GB (forecast 1.0 GB)
        """
        forecast, actual = (sum(pair[index] for pair in self.seconds.values()) for index in (0, 1))
        forecast_memory, peak = (bytes_ / GIGABYTE for bytes_ in self.memory)
        return (
            f"time {actual:.0f} s (forecast {forecast:.0f} s); "
            f"peak memory {peak:.1f} GB (forecast {forecast_memory:.1f} GB)"
        )


def parse_forecast_vs_actual(column: object) -> ForecastVsActual | None:
    """Parse the column `forecast` of the table `runs`; None if it is null."""
    return None if column is None else ForecastVsActual(**json.loads(str(column)))
