"""Word of a run to whoever should know: a failure, or a number beyond what the study allows."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import httpx
import polars as pl
from prefect.logging import get_logger

from storage import Store
from storage.queries import sum_harm_by_train
from storage.run_comparison import (
    BECAME_HARMFUL,
    MOVED_UP,
    RunTables,
    find_changes,
)
from tasks.results.comparability import find_comparable_run
from tasks.results.diagnostics import read_diagnostics
from tasks.study.sections import Notify

MAX_ATTEMPTS, TIMEOUT_SECONDS = 3, 10.0
"""And seconds for each."""


@dataclass(frozen=True)
class Breach:
    """A number beyond its limit.

    Attributes:
        what: the key under [notify].
        limit: what the study says.
        found: what the run has.
    """

    what: str
    limit: float
    found: float

    def __str__(self) -> str:
        """In a few words.

        >>> print(Breach("recall_below", 0.9, 0.75))
        recall_below 0.9: 0.75
        """
        return f"{self.what} {self.limit:g}: {self.found:.3g}"


def find_breaches(store: Store, run: str, notify: Notify) -> Iterator[Breach]:
    """What of a finished run is beyond the limits; what was not measured is not."""
    measured = {
        "recall_below": _read_lowest_recall(store, run),
        "residual_above": read_diagnostics(store.scan("solves", run))["worst_residual"],
        "harmful_above": _compute_harmful_share(store, run),
        "new_suspects_above": _count_newly_harmful(store, run),
    }
    for key, value in measured.items():
        limit = getattr(notify, key)
        if limit is None or value is None:
            continue
        number = float(str(value))
        if number < limit if key.endswith("below") else number > limit:
            yield Breach(key, limit, number)


def send_alert(
    notify: Notify, study: str, run: str, text: str, breaches: Sequence[Breach] = ()
) -> bool:
    """Post it to the webhook; whether it arrived. A webhook that fails never fails a run.

    The address is a secret: it is read from the environment, and stands in no log.
    """
    if not notify.webhook_env:
        return False
    problem = find_webhook_problem(notify)
    if problem:
        get_logger("fastif").warning("No word of %s was sent: %s", study, problem)
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
    get_logger("fastif").warning("The webhook of %s was not reached: %s", study, problem)
    return False


def find_webhook_problem(notify: Notify) -> str:
    """Why nothing could be posted to the study's webhook; empty if it could, or if it has none.

    The address is a secret, so that of a wrong one no more is said than that it is wrong.
    """
    name = notify.webhook_env
    if not name:
        return ""
    address = os.environ.get(name)
    if not address:
        return f"the environment variable {name} ([notify] webhook_env) is not set here"
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        return f"the environment variable {name} ([notify] webhook_env) holds no http(s) address"
    return ""


def _read_lowest_recall(store: Store, run: str) -> float | None:
    (recorded,) = store.scan("runs", run).select("recall").collect()["recall"].to_list()
    overall = [
        entry
        for entry in json.loads(recorded or "[]")
        if all(entry.get(key) is None for key in ("method", "label", "slice"))
    ]
    return min((entry["share"] for entry in overall), default=None)


def _compute_harmful_share(store: Store, run: str) -> float | None:
    """Share of the scored training rows that do harm on balance."""
    sums = sum_harm_by_train(store.scan("scores", run))
    share = sums.select((pl.col("effect") < 0).mean()).collect().item()
    return None if share is None else float(share)


def _count_newly_harmful(store: Store, run: str) -> int | None:
    """Rows among the worst hundred that were not in the last comparable run."""
    before = find_comparable_run(store, run)
    if before is None:
        return None
    rows = find_changes(RunTables.scan(store, before), RunTables.scan(store, run), k=100)
    return int(rows["change"].is_in([BECAME_HARMFUL, MOVED_UP]).sum())
