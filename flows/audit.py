"""Flow: the influence audit, from a study file to committed answers."""

import time
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture, as_completed

from flows.engine import AnyEngine, Threads
from flows.hooks import tell_of_failure
from flows.naming import named_for_the_night
from flows.workers import Workers, started
from storage import Shard, Store
from tasks.attribute import attribute_shard
from tasks.begin import begin
from tasks.candidates import choose_candidates
from tasks.clock import timed
from tasks.damping import choose_damping
from tasks.devices import devices_of
from tasks.expected import expect
from tasks.finish import finish_run
from tasks.notify import breaches, send
from tasks.plan import FINISH, RunRef, missing_shards, plan_run
from tasks.prepare import build_index, describe_train, factor_curvature
from tasks.progress import bar, say
from tasks.recall import check_recall
from tasks.study import Study
from tasks.summary import markdown, read_summary

PREPARED = (
    ("damping", choose_damping),
    ("index", build_index),
    ("curvature", factor_curvature),
    ("recall", choose_candidates),
)
"""What all shards share, in this order; the stage as the forecast names it."""


@flow(
    name="influence-audit",
    flow_run_name=named_for_the_night,
    persist_result=False,
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_failure],
)
def audit(study: str, run: str | None = None, engine: AnyEngine = Threads()) -> str:  # noqa: B008
    """Attribute every query of a study that has no committed answer yet.

    Args:
        study: path of the study file.
        run: name of the run; by default the study's name and a digest of all its contents.
        engine: where tasks run; answers do not depend on it.

    Returns:
        The name of the run.
    """
    start = time.monotonic()
    plan = plan_run(Path(study), run)
    ref = plan.ref
    job, store = begin(plan)
    expected = expect(job, store)
    say(f"{expected.forecast}")
    shards = missing_shards(store, ref.run)
    with started(engine, devices_of(job.study.run.devices), len(shards)) as workers:
        missing = _prepare(workers, store, ref)
        if missing:
            with timed("shards"):
                _attribute(workers, missing, ref)
        if missing or not store.is_done(ref.run, FINISH):
            with timed("recall"):
                found = workers.call(check_recall, ref=ref)
            outcome = expected.outcome(store, ref.run)
            get_run_logger().info(f"{outcome}")
            seconds = time.monotonic() - start
            workers.call(finish_run, ref=ref, seconds=seconds, found=found, outcome=outcome)
            _tell(store, ref, plan.inputs.study)
    summary = read_summary(store, ref.run, plan.inputs.study.path)
    create_markdown_artifact(markdown(summary), key="influence-audit", description=ref.run)
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


def _attribute(workers: Workers, missing: Sequence[Shard], ref: RunRef) -> None:
    """A task for each shard."""
    futures = [workers.submit(attribute_shard, shard=shard, ref=ref) for shard in missing]
    _wait(futures, missing, ref)


def _wait(futures: Sequence[PrefectFuture], missing: Sequence[Shard], ref: RunRef) -> None:
    """Show how far it is; every shard that can be committed is, before a failure is raised."""
    shown = create_progress_artifact(0.0, key="influence-audit-progress", description=ref.run)
    done, failed = 0, []
    with bar("queries", sum(map(len, missing))) as advance:
        for future in as_completed(list(futures)):
            if future.state.is_failed() or future.state.is_crashed():
                failed.append(future)
                continue
            done += 1
            advance(future.result())
            update_progress_artifact(shown, 100 * done / len(missing))  # type: ignore[arg-type]
    for future in failed:
        future.result()
