"""Flow: the influence audit, from a study file to committed answers."""

import time
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger, unmapped
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from storage import Shard, Store
from tasks.attribute import attribute_shard
from tasks.begin import begin
from tasks.candidates import choose_candidates
from tasks.clock import CLOCK
from tasks.damping import choose_damping
from tasks.devices import Device, devices_of, shared_threads
from tasks.expected import expect
from tasks.finish import finish_run
from tasks.plan import FINISH, RunRef, missing_shards, plan_run
from tasks.prepare import build_index, describe_train, factor_curvature
from tasks.progress import bar, say
from tasks.recall import check_recall
from tasks.summary import markdown, read_summary

PREPARED = (
    ("damping", choose_damping),
    ("index", build_index),
    ("curvature", factor_curvature),
    ("recall", choose_candidates),
)
"""What all shards share, in this order; the stage as the forecast names it."""


@flow(name="influence-audit", flow_run_name="audit {study}", persist_result=False)
def audit(study: str, run: str | None = None) -> str:
    """Attribute every query of a study that has no committed answer yet.

    Args:
        study: path of the study file.
        run: name of the run; by default the study's name and a digest of all its contents.

    Returns:
        The name of the run.
    """
    start = time.monotonic()
    plan = plan_run(Path(study), run)
    ref = plan.ref
    job, store = begin(plan)
    expected = expect(job, store)
    say(f"{expected.forecast}")
    missing = _prepare(store, ref)
    if missing:
        with CLOCK.stage("shards"):
            _attribute(missing, ref, devices_of(job.study.run.devices))
    if missing or not store.is_done(ref.run, FINISH):
        with CLOCK.stage("recall"):
            found = check_recall(ref)
        outcome = expected.outcome(store, ref.run)
        get_run_logger().info(f"{outcome}")
        finish_run(ref, time.monotonic() - start, found, outcome)
    summary = read_summary(store, ref.run, plan.inputs.study.path)
    create_markdown_artifact(markdown(summary), key="influence-audit", description=ref.run)
    return ref.run


def _prepare(store: Store, ref: RunRef) -> Sequence[Shard]:
    """Make all that the shards share; those that are missing."""
    with CLOCK.stage("predictions"):
        describe_train(ref)
    missing = missing_shards(store, ref.run)
    if missing:
        for name, prepare in PREPARED:
            with CLOCK.stage(name):
                prepare(ref)
    return missing


def _attribute(missing: Sequence[Shard], ref: RunRef, devices: Sequence[Device]) -> None:
    """Map over the shards with a worker for each device, which it leases for a shard."""
    workers = min(len(devices), len(missing))
    with shared_threads(workers), ThreadPoolTaskRunner(max_workers=workers) as runner:
        _wait(runner.map(attribute_shard, {"shard": missing, "ref": unmapped(ref)}), missing, ref)


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
