"""The last commit of a run: its row in the table of runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif.evaluation.recall import Recall
from storage import RUNS, StoreError, polars_schema
from tasks.audit.check_recall import told
from tasks.planning.actuals import Outcome
from tasks.planning.open_run import leased_job
from tasks.run.context import Job
from tasks.run.method_selection import as_record
from tasks.run.selections import left_out_record
from tasks.run.sketches import sketcher_of
from tasks.run.spec import (
    FINISH,
    RunRef,
    missing_shards,
    versions,
)


@task(name="finish-run", cache_policy=NO_CACHE)
def finish_run(
    ref: RunRef, seconds: float, found: Sequence[Recall] = (), outcome: Outcome | None = None
) -> None:
    """Commit the run's own row, once every shard is there.

    Args:
        ref: the run.
        seconds: wall time of the flow.
        found: recall of its candidates, where that was checked.
        outcome: its forecast beside what it took, where it was forecast.

    Raises:
        StoreError: a shard is missing.
    """
    with leased_job(ref) as job:
        missing = missing_shards(job.store, ref.run)
        if missing:
            raise StoreError.at(
                f"run {ref.run}",
                expected="every shard committed",
                got=f"{len(missing)} missing, the first is {missing[0].key}",
                remedy="Run the audit again; it computes only these.",
            )
        job.store.commit(ref.run, FINISH, {"runs": _row(job, ref.run, seconds, found, outcome)})


def _line(job: Job) -> dict[str, object]:
    """What the next night has to know, and how much of this one is the last one's."""
    found: dict[str, object] = {}
    if job.by_sketches:
        found["sketcher"] = sketcher_of(job.store, job.index_digests[0])
    if job.carried and job.plan.lineage and job.plan.lineage.base:
        kept = {name: int((places >= 0).sum()) for name, places in job.carried.places.items()}
        runs = {"from": job.plan.lineage.base.run, "root": job.plan.root.run}
        found["carried"] = {**kept, **runs}
    return found


def _chosen(job: Job) -> dict[str, object]:
    """How each model's damping was chosen, and which models that leaves out of the mean."""
    choices = [member.choice for member in job.members if member.choice]
    if not choices:
        return {}
    first, *others = map(asdict, choices)
    found: dict[str, object] = {"chosen": first, "chosen_for_others": others}
    if job.left_out:
        names = [job.study.model.path, *job.study.models]
        found["left_out"] = left_out_record(names, choices, job.left_out)
    return found


def _row(
    job: Job, run: str, seconds: float, found: Sequence[Recall], outcome: Outcome | None
) -> pl.DataFrame:
    store = job.store
    record, parts = store.record(run), store.record(run).parts
    queries = store.scan("queries", run).select("correct", "truncated").collect()
    quarantined = store.scan("solves", run).select(pl.col("reason").count()).collect().item()
    chosen = _chosen(job)
    parts = parts | {"curvature": parts["curvature"] | chosen}  # type: ignore[operator]
    if job.candidate_choice:
        told_choice = {"chosen": asdict(job.candidate_choice)}
        parts |= {"candidates": parts["candidates"] | told_choice}  # type: ignore[operator]
    if job.plan.method:
        parts |= {"candidates": parts["candidates"] | {"method": as_record(job.plan.method)}}  # type: ignore[operator]
    parts |= {"candidates": parts["candidates"] | _line(job)}  # type: ignore[operator]
    columns = {
        "run": run,
        "study": record.study,
        "fingerprint": record.fingerprint,
        "created": datetime.fromisoformat(record.created),
        "finished": datetime.now(UTC),
        "train_rows": record.train_rows,
        "query_rows": record.query_rows,
        "parameters": job.objective.space.size,
        "damping": job.damping,
        **{name: json.dumps(parts[name]) for name in ("solver", "curvature", "candidates")},
        "model_digest": parts["model"],
        "train_digest": parts["train"],
        "query_digest": parts["queries"],
        "accuracy": queries["correct"].mean(),
        "quarantined_queries": quarantined,
        "truncated_queries": int(queries["truncated"].sum()),
        "truncated_train": int(job.train_texts.truncated.sum()),
        "seconds": seconds,
        "versions": json.dumps(versions()),
        "recall": json.dumps(told(found)) if found else None,
        "forecast": outcome.to_json() if outcome else None,
        "training": known.to_json() if (known := job.provenance) else None,
    }
    return pl.DataFrame([columns]).select(polars_schema(RUNS).names()).cast(polars_schema(RUNS))
