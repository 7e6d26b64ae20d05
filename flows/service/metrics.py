"""Metrics of the lookup service in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one service, in a registry of its own.

    Args:
        count_waiting: Function that returns the number of requests that wait.
        train_rows: Number of training rows.
    """

    def __init__(self, count_waiting: Callable[[], int], train_rows: int) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fastif_requests",
            "Requests by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._queries = Counter(
            "fastif_queries", "Queries that were explained.", registry=self._registry
        )
        self._seconds = Histogram(
            "fastif_request_seconds",
            "Time of a request for explanations, waiting included.",
            buckets=SECONDS,
            registry=self._registry,
        )
        waiting = Gauge("fastif_waiting_requests", "Requests that wait.", registry=self._registry)
        waiting.set_function(count_waiting)
        rows = Gauge("fastif_train_rows", "Training rows.", registry=self._registry)
        rows.set(train_rows)

    def count_request(self, path: str, status: int) -> None:
        """Count a request; paths that do not exist share one name."""
        self._requests.labels(path, str(status)).inc()

    def count_explanations(self, queries: int, seconds: float) -> None:
        """Count explained queries and the time of their request."""
        self._queries.inc(queries)
        self._seconds.observe(seconds)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)
