"""Alerts of a run: posts to a webhook on failure, or when a number exceeds a limit of the study."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import httpx
import polars as pl
from prefect.logging import get_logger

from storage import Store, StoreError
from storage.queries import sum_harm_by_train
from storage.run_comparison import ENTERED, RunTables, find_changes
from tasks.results.candidate_recall import find_lowest_recall
from tasks.results.comparability import check_effects, find_comparable_run
from tasks.results.compare_runs import WORST
from tasks.results.diagnostics import read_diagnostics
from tasks.results.limits import Status, read_limit_tests
from tasks.results.webhook import find_webhook_problem
from tasks.study.night_sections import Notify
from tasks.study.study import Study

MAX_ATTEMPTS, TIMEOUT_SECONDS = 3, 10.0
"""Number of tries of a post, and the timeout of each in seconds."""


@dataclass(frozen=True)
class Breach:
    """A number of a run beyond a limit of `[notify]` or `[report]`.

    Attributes:
        what: Key under `[notify]`, such as `recall_below`; of `[report]` with its section before
            it, such as `report.accuracy_below`.
        limit: Limit set in the study.
        found: Value measured in the run.
    """

    what: str
    limit: float
    found: float

    def __str__(self) -> str:
        """Key, limit and value on one line.

        >>> print(Breach("recall_below", 0.9, 0.75))
        recall_below 0.9: 0.75
        """
        return f"{self.what} {self.limit:g}: {self.found:.3g}"


def find_breaches(store: Store, run: str, notify: Notify) -> Iterator[Breach]:
    """Yield the limits that a finished run exceeds; numbers that were not measured are skipped."""
    measured = {
        "recall_below": _read_lowest_recall(store, run),
        "residual_above": read_diagnostics(store.scan("solves", run))["worst_residual"],
        "harmful_above": _compute_harmful_share(store, run),
        "new_suspects_above": _count_entered(store, run),
    }
    for key, value in measured.items():
        limit = getattr(notify, key)
        if limit is None or value is None:
            continue
        number = float(str(value))
        if number < limit if key.endswith("below") else number > limit:
            yield Breach(key, limit, number)


def find_failed_limits(store: Store, run: str, study: Study) -> Iterator[Breach]:
    """Yield the limits of `[report]` that a finished run fails.

    A damaged detection or earlier run is logged: it must not fail a run that is finished.
    """
    if not study.report.has_limits:
        return
    try:
        tests = read_limit_tests(store, run, study)
    except StoreError as error:
        get_logger("fastif").warning("The limits of [report] were not tested: %s", error)
        return
    for test in tests:
        if test.status is Status.FAIL and test.limit is not None and test.value is not None:
            yield Breach(f"report.{test.key}", test.limit, test.value)


def send_alert(
    notify: Notify, study: str, run: str, text: str, breaches: Sequence[Breach] = ()
) -> bool:
    """Post an alert to the webhook and return whether it arrived; a failed post never fails a run.

    The address is a secret: it is read from the environment and never logged.
    """
    if not notify.webhook_env:
        return False
    problem = find_webhook_problem(notify)
    if problem:
        get_logger("fastif").warning("No alert was sent for %s: %s", study, problem)
        return False
    url = os.environ[notify.webhook_env]
    payload = {
        "study": study,
        "run": run,
        "text": text,
        "breaches": [asdict(breach) for breach in breaches],
    }
    for _ in range(MAX_ATTEMPTS):
        try:
            httpx.post(url, json=payload, timeout=TIMEOUT_SECONDS).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = type(error).__name__
        else:
            return True
    get_logger("fastif").warning("The webhook of %s could not be reached: %s", study, problem)
    return False


def _read_lowest_recall(store: Store, run: str) -> float | None:
    (recorded,) = store.scan("runs", run).select("recall").collect()["recall"].to_list()
    lowest = find_lowest_recall(json.loads(recorded or "[]"))
    return lowest["share"] if lowest else None


def _compute_harmful_share(store: Store, run: str) -> float | None:
    """Share of the scored training rows with a negative summed effect."""
    sums = sum_harm_by_train(store.scan("scores", run))
    share = sums.select((pl.col("effect") < 0).mean()).collect().item()
    return None if share is None else float(share)


def _count_entered(store: Store, run: str) -> int | None:
    """Number of rows that entered the 100 most harmful since the last comparable run."""
    before = find_comparable_run(store, run)
    if before is None or check_effects(store, before, run).level == "nothing":
        return None
    rows = find_changes(RunTables.scan(store, before), RunTables.scan(store, run), k=WORST)
    return int(rows["change"].is_in(ENTERED).sum())
