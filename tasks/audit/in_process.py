"""Audit in this process: the steps of the flow one after the other, without a Prefect server."""

import time
from collections.abc import Sequence
from typing import Any

from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.check_recall import check_recall
from tasks.audit.finalize import finish_run
from tasks.audit.measure_agreement import measure_agreement
from tasks.audit.predict_queries import predict_queries
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.select_k import choose_candidates
from tasks.audit.select_precision import choose_precision
from tasks.audit.tidy_store import tidy_store
from tasks.models.provenance import list_differences
from tasks.planning.forecast_timer import start_forecast_timer
from tasks.planning.open_run import settle_plan
from tasks.planning.start_run import start_run
from tasks.results.provenance_since import find_changes_since
from tasks.run.assemble import get_provenance
from tasks.run.spec import FINISH, RunPlan, RunRef, find_finished_run, list_missing_shards
from tasks.runtime.devices import resolve_devices, split_threads
from tasks.runtime.progress import print_line, progress_bar
from tasks.runtime.stage_timer import time_stage
from tasks.study.study import Study

PREPARATIONS = (
    ("predictions", predict_queries),
    ("damping", choose_damping),
    ("index", build_index),
    ("curvature", factor_curvature),
    ("agreement", choose_precision),
    ("agreement", measure_agreement),
    ("recall", choose_candidates),
)
"""Tasks before the first shard, in order, by the name of their stage in the forecast."""


def list_preparations(study: Study) -> Sequence[tuple[str, Any]]:
    """Return the tasks before the first shard; of boosted trees only the predictions."""
    return PREPARATIONS[:1] if study.has_trees else PREPARATIONS


def audit_in_process(plan: RunPlan) -> tuple[Store, str]:
    """Compute everything that a run lacks; return its store and its name.

    A run that was interrupted continues from its committed shards.

    Raises:
        InputError, StudyError, StoreError: The run is invalid.
        ShardError: A shard failed.
    """
    plan = settle_plan(plan)
    finished = find_finished_run(plan)
    if finished is not None:
        for line in find_changes_since(finished, plan):
            print_line(line)
        return finished, plan.record.run
    start = time.monotonic()
    context = start_run(plan)
    store, ref = context.store, plan.ref
    timer = start_forecast_timer(context, store)
    for line in (timer.forecast, *list_differences(get_provenance(context))):
        print_line(f"{line}")
    devices = resolve_devices(context.study.run.devices)
    has_new = _compute_shards(store, ref, len(devices), list_preparations(context.study))
    if has_new or not store.is_committed(ref.run, FINISH):
        with time_stage("recall"):
            recalls = check_recall.fn(ref)
        outcome = timer.compare_with_actual(store, ref.run)
        finish_run.fn(ref, time.monotonic() - start, recalls, outcome)
        tidy_store(ref)
    store.make_current(ref.run)
    return store, ref.run


def _compute_shards(
    store: Store, ref: RunRef, device_count: int, preparations: Sequence[tuple[str, Any]]
) -> bool:
    """Compute the missing shards; return whether there were any."""
    with time_stage("predictions"):
        describe_train.fn(ref)
    missing = list_missing_shards(store, ref.run)
    if not missing:
        return False
    for name, prepare in preparations:
        with time_stage(name):
            prepare.fn(ref)
    with (
        time_stage("shards"),
        split_threads(device_count),
        progress_bar("queries", sum(map(len, missing)), "queries") as advance,
    ):
        for shard in missing:
            attribute_shard.fn(shard, ref)
            advance(len(shard))
    return True
