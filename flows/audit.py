"""Flow of the influence audit, from a study file to committed scores."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from pydantic import Field

from flows.executor_config import AnyExecutorConfig, ThreadsConfig
from flows.executors import Executor, start_executor
from flows.flow_run_names import make_flow_run_name
from flows.interrupted_run import crash_when_stopped
from flows.page_service import find_page_url
from flows.prefect_hooks import notify_failure
from flows.row_parts import count_useful_workers, scan_parts
from flows.shard_scheduler import Deadline, ShardScheduler, UnfinishedError
from storage import Shard, Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.check_recall import check_recall
from tasks.audit.finalize import finish_run
from tasks.audit.in_process import list_preparations
from tasks.audit.prepare import describe_train
from tasks.audit.tidy_store import tidy_store
from tasks.models.provenance import list_differences
from tasks.planning.forecast_timer import ForecastTimer, start_forecast_timer
from tasks.planning.open_run import settle_plan
from tasks.planning.start_run import start_run
from tasks.results.alerts import find_breaches, find_failed_limits, send_alert
from tasks.results.summary import read_summary
from tasks.results.summary_markdown import make_worst_queries_table, render_summary_markdown
from tasks.results.webhook import find_webhook_problem
from tasks.run.assemble import get_provenance
from tasks.run.spec import FINISH, RunRef, list_missing_shards, plan_run
from tasks.runtime.devices import resolve_devices
from tasks.runtime.foreign_errors import wrap_library_errors
from tasks.runtime.progress import print_line, progress_bar
from tasks.runtime.shard_error import make_shard_error
from tasks.runtime.stage_timer import time_stage
from tasks.study.study import Study

PROGRESS = "influence-audit-progress"
UPDATE_SECONDS = 5.0
"""Seconds between updates of the progress artifact; an update takes about 40 ms."""

Minutes = Annotated[float, Field(gt=0)]


@flow(
    name="influence-audit",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@crash_when_stopped
@wrap_library_errors
def audit(
    study: str,
    run: str | None = None,
    engine: AnyExecutorConfig = ThreadsConfig(),  # noqa: B008
    within_minutes: Minutes | None = None,
    budget: str | None = None,
) -> str:
    """Compute removal effects of training rows on all queries that have no committed scores yet.

    Args:
        study: Path of the study file.
        run: Name of the run; by default the study's name and a digest of all its contents.
        engine: Executor of the tasks; results do not depend on it.
        within_minutes: Time budget in minutes. Shards that would not finish in time are not
            started; the next start continues.
        budget: Time budget such as "20min", in place of `[run] budget`: settings that the study
            leaves open are chosen by forecast to fit.

    Returns:
        Name of the run.

    Raises:
        UnfinishedError: the time budget or a signal ended the audit before the last shard.
    """
    start, deadline = time.monotonic(), Deadline(60 * within_minutes if within_minutes else None)
    plan = settle_plan(plan_run(Path(study), run, budget))
    ref, context = plan.ref, start_run(plan)
    store, devices = context.store, resolve_devices(context.study.run.devices)
    forecast_timer = start_forecast_timer(context, store)
    for line in (forecast_timer.forecast, *list_differences(get_provenance(context))):
        print_line(f"{line}")
    problem = find_webhook_problem(context.study.notify)
    if problem:
        get_run_logger().warning(f"No alerts will be sent: {problem}.")
    shards = list_missing_shards(store, ref.run)
    with start_executor(engine, devices, count_useful_workers(engine, context, shards)) as executor:
        missing = _prepare(executor, store, ref, context.study)
        if missing:
            with time_stage("shards"):
                _attribute(executor, store, missing, ref, deadline)
        if missing or not store.is_committed(ref.run, FINISH):
            _finish(executor, store, ref, forecast_timer, start)
            _notify_breaches(store, ref, plan.inputs.study)
    store.make_current(ref.run)
    summary = read_summary(store, ref.run, plan.inputs.study.path)
    create_markdown_artifact(
        render_summary_markdown(summary, find_page_url), key="influence-audit", description=ref.run
    )
    create_table_artifact(
        make_worst_queries_table(summary), key="influence-audit-worst", description=ref.run
    )
    return ref.run


def _finish(
    executor: Executor, store: Store, ref: RunRef, forecast_timer: ForecastTimer, start: float
) -> None:
    """Measure the recall, commit the run's row of the table `runs`, and merge its files."""
    with time_stage("recall"):
        recalls = executor.call(check_recall, ref=ref)
    outcome = forecast_timer.compare_with_actual(store, ref.run)
    get_run_logger().info(f"{outcome}")
    seconds = time.monotonic() - start
    executor.call(finish_run, ref=ref, seconds=seconds, recalls=recalls, outcome=outcome)
    tidy_store(ref)


def _notify_breaches(store: Store, ref: RunRef, study: Study) -> None:
    """Send an alert if a limit of `[notify]` or `[report]` is exceeded."""
    alerts = [
        *find_breaches(store, ref.run, study.notify),
        *find_failed_limits(store, ref.run, study),
    ]
    if alerts:
        text = f"{ref.run}: {'; '.join(map(str, alerts))}"
        get_run_logger().warning(text)
        send_alert(study.notify, study.name, ref.run, text, alerts)


def _prepare(executor: Executor, store: Store, ref: RunRef, study: Study) -> Sequence[Shard]:
    """Run the tasks that all shards depend on; return the missing shards."""
    with time_stage("predictions"):
        executor.call(describe_train, ref=ref)
    missing = list_missing_shards(store, ref.run)
    if missing:
        for name, prepare in list_preparations(study):
            with time_stage(name):
                executor.call(prepare, ref=ref)
    return missing


def _attribute(
    executor: Executor, store: Store, missing: Sequence[Shard], ref: RunRef, deadline: Deadline
) -> None:
    """Run one task per shard; a failure is raised after all other shards are committed."""
    progress, last_update = create_progress_artifact(0.0, key=PROGRESS, description=ref.run), 0.0
    parts = 1 if deadline.seconds else scan_parts(executor, missing, ref)
    scheduler = ShardScheduler(
        lambda shard: executor.submit(attribute_shard, shard=shard, ref=ref, parts=parts),
        executor.count,
        deadline,
    )
    with progress_bar("queries", sum(map(len, missing)), "queries") as advance:
        for done, shard in enumerate(scheduler.run(missing), 1):
            advance(len(shard))
            if time.monotonic() - last_update > UPDATE_SECONDS or done == len(missing):
                last_update = time.monotonic()
                update_progress_artifact(progress, 100 * done / len(missing))  # type: ignore[arg-type]
    if scheduler.failed:
        raise make_shard_error(*scheduler.failed[0], ref.run, len(scheduler.failed))
    if scheduler.remaining or deadline.stop_signal is not None:
        raise UnfinishedError(
            scheduler.stop_reason or deadline.find_stop_reason(0),
            *_count_shards(store, ref),
            deadline.stop_signal,
        )


def _count_shards(store: Store, ref: RunRef) -> tuple[int, int]:
    """Numbers of committed shards and of all shards of the run."""
    shards = store.read_record(ref.run).list_shards()
    return len(shards) - len(store.find_missing(ref.run, shards)), len(shards)
