"""What an audit was forecast to take, and what it then took."""

import json
from dataclasses import asdict, dataclass

GIGABYTE = 2**30


@dataclass(frozen=True)
class ForecastVsActual:
    """Forecast and measurement side by side, of one process: a resumed run has that of the rest.

    Attributes:
        seconds: of each stage.
        memory: peak bytes of the process, whatever else it did before.
        disk: bytes added to the store.
    """

    seconds: dict[str, tuple[float, float]]
    memory: tuple[int, int]
    disk: tuple[int, int]

    def to_json(self) -> str:
        """For the column `forecast` of the table `runs`."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        """One line for a summary.

        >>> gigabyte, seconds = 2**30, {"shards": (80, 90), "recall": (20, 15)}
        >>> print(ForecastVsActual(seconds, (gigabyte, gigabyte), (0, 0)))
        forecast 100 s, took 105 s; memory 1.0 GB forecast, 1.0 GB measured
        """
        forecast, actual = (sum(pair[index] for pair in self.seconds.values()) for index in (0, 1))
        forecast_memory, peak = (bytes_ / GIGABYTE for bytes_ in self.memory)
        return (
            f"forecast {forecast:.0f} s, took {actual:.0f} s; "
            f"memory {forecast_memory:.1f} GB forecast, {peak:.1f} GB measured"
        )


def parse_forecast_vs_actual(column: object) -> ForecastVsActual | None:
    """What the column holds; None for a run of an older version."""
    return None if column is None else ForecastVsActual(**json.loads(str(column)))
