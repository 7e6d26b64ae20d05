"""Flow: the influence audit, from a study file to committed answers."""

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

from flows.executor_config import AnyEngine, Threads
from flows.executors import Workers, started
from flows.flow_run_names import named_for_the_night
from flows.prefect_hooks import tell_of_failure
from flows.shard_scheduler import Dispatch, Limit, UnfinishedError
from storage import Shard, Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.check_recall import check_recall
from tasks.audit.finalize import finish_run
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.select_k import choose_candidates
from tasks.models.provenance import differences
from tasks.planning.forecast_timer import expect
from tasks.planning.start_run import begin
from tasks.results.alerts import breaches, send, webhook_problem
from tasks.results.summary import markdown, read_summary, worst_rows
from tasks.run.spec import (
    FINISH,
    RunRef,
    existing_store,
    missing_shards,
    plan_run,
)
from tasks.runtime.devices import devices_of
from tasks.runtime.foreign_errors import refusing
from tasks.runtime.progress import bar, say
from tasks.runtime.shard_error import shard_error
from tasks.runtime.stage_timer import timed
from tasks.study.study import Study, load_study

PREPARED = (
    ("damping", choose_damping),
    ("index", build_index),
    ("curvature", factor_curvature),
    ("recall", choose_candidates),
)
"""What all shards share, in this order; the stage as the forecast names it."""

PROGRESS = "influence-audit-progress"
TOLD_EVERY = 5.0
"""Seconds between updates of the progress that Prefect shows; one takes about 40 ms."""

Minutes = Annotated[float, Field(gt=0)]


@flow(
    name="influence-audit",
    flow_run_name=named_for_the_night,
    persist_result=False,
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_failure],
)
@refusing
def audit(
    study: str,
    run: str | None = None,
    engine: AnyEngine = Threads(),  # noqa: B008
    within_minutes: Minutes | None = None,
) -> str:
    """Attribute every query of a study that has no committed answer yet.

    Args:
        study: path of the study file.
        run: name of the run; by default the study's name and a digest of all its contents.
        engine: where tasks run; answers do not depend on it.
        within_minutes: no shard begins that would not end in time; the next start goes on.

    Returns:
        The name of the run.

    Raises:
        UnfinishedError: the time is over, or a signal asked to stop, before the last shard.
    """
    start, limit = time.monotonic(), Limit(60 * within_minutes if within_minutes else None)
    plan = plan_run(Path(study), run)
    ref = plan.ref
    job, store = begin(plan)
    expected = expect(job, store)
    for line in (expected.forecast, *differences(job.provenance)):
        say(f"{line}")
    problem = webhook_problem(job.study.notify)
    if problem:
        get_run_logger().warning(f"Nobody will be notified: {problem}.")
    shards = missing_shards(store, ref.run)
    with started(engine, devices_of(job.study.run.devices), len(shards)) as workers:
        missing = _prepare(workers, store, ref)
        if missing:
            with timed("shards"):
                _attribute(workers, missing, ref, limit)
        if missing or not store.is_done(ref.run, FINISH):
            with timed("recall"):
                found = workers.call(check_recall, ref=ref)
            outcome = expected.outcome(store, ref.run)
            get_run_logger().info(f"{outcome}")
            seconds = time.monotonic() - start
            workers.call(finish_run, ref=ref, seconds=seconds, found=found, outcome=outcome)
            _tell(store, ref, plan.inputs.study)
    store.make_current(ref.run)
    summary = read_summary(store, ref.run, plan.inputs.study.path)
    create_markdown_artifact(markdown(summary), key="influence-audit", description=ref.run)
    create_table_artifact(worst_rows(summary), key="influence-audit-worst", description=ref.run)
    return ref.run


def _tell(store: Store, ref: RunRef, study: Study) -> None:
    """Word of what is beyond the study's limits."""
    found = list(breaches(store, ref.run, study.notify))
    if found:
        text = f"{ref.run}: {'; '.join(map(str, found))}"
        get_run_logger().warning(text)
        send(study.notify, study.name, ref.run, text, found)


def _prepare(workers: Workers, store: Store, ref: RunRef) -> Sequence[Shard]:
    """Make all that the shards share; those that are missing."""
    with timed("predictions"):
        workers.call(describe_train, ref=ref)
    missing = missing_shards(store, ref.run)
    if missing:
        for name, prepare in PREPARED:
            with timed(name):
                workers.call(prepare, ref=ref)
    return missing


def _attribute(workers: Workers, missing: Sequence[Shard], ref: RunRef, limit: Limit) -> None:
    """A task for each shard; each that can be committed is, before a failure is raised."""
    shown, told = create_progress_artifact(0.0, key=PROGRESS, description=ref.run), 0.0
    dispatch = Dispatch(
        lambda shard: workers.submit(attribute_shard, shard=shard, ref=ref), workers.count, limit
    )
    with bar("queries", sum(map(len, missing))) as advance:
        for done, shard in enumerate(dispatch.done(missing), 1):
            advance(len(shard))
            if time.monotonic() - told > TOLD_EVERY or done == len(missing):
                told = time.monotonic()
                update_progress_artifact(shown, 100 * done / len(missing))  # type: ignore[arg-type]
    if dispatch.failed:
        raise shard_error(*dispatch.failed[0], ref.run, len(dispatch.failed))
    if dispatch.left or limit.asked is not None:
        raise UnfinishedError(dispatch.why or limit.why_not(0), *_counts(ref), limit.asked)


def _counts(ref: RunRef) -> tuple[int, int]:
    """Shards of the run that are committed, and all."""
    store = existing_store(load_study(Path(ref.study)))
    shards = store.record(ref.run).shards()
    return len(shards) - len(store.missing(ref.run, shards)), len(shards)
