"""The last commit of a run: its row in the table of runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif.evaluation.recall import Recall
from storage import StoreError, polars_schema
from storage.runs_schema import RUNS
from tasks.audit.check_recall import make_recall_records
from tasks.planning.actuals import ForecastVsActual
from tasks.planning.open_run import lease_run
from tasks.run.artifact_keys import index_digests
from tasks.run.assemble import get_provenance
from tasks.run.context import RunContext
from tasks.run.method_selection import make_record
from tasks.run.reuse import get_reuse
from tasks.run.selections import make_excluded_record
from tasks.run.sketches import read_sketcher_digest
from tasks.run.spec import FINISH, RunRef, list_missing_shards
from tasks.runtime.versions import read_versions


@task(name="finish-run", cache_policy=NO_CACHE)
def finish_run(
    ref: RunRef,
    seconds: float,
    recalls: Sequence[Recall] = (),
    outcome: ForecastVsActual | None = None,
) -> None:
    """Commit the run's own row, once every shard is there.

    Args:
        ref: the run.
        seconds: wall time of the flow.
        recalls: recall of its candidates, where that was checked.
        outcome: its forecast beside what it took, where it was forecast.

    Raises:
        StoreError: a shard is missing.
    """
    with lease_run(ref) as context:
        missing = list_missing_shards(context.store, ref.run)
        if missing:
            raise StoreError(
                f"run {ref.run}",
                expected="every shard committed",
                got=f"{len(missing)} missing, the first is {missing[0].key}",
                remedy="Run the audit again; it computes only these.",
            )
        context.store.commit(
            ref.run, FINISH, {"runs": _make_run_row(context, ref.run, seconds, recalls, outcome)}
        )


def _make_lineage_record(context: RunContext) -> dict[str, object]:
    """What the next night has to know, and how much of this one is the last one's."""
    record: dict[str, object] = {}
    if context.has_sketch_scores:
        record["sketcher"] = read_sketcher_digest(context.store, index_digests(context)[0])
    reuse = get_reuse(context)
    if reuse and context.plan.lineage and context.plan.lineage.parent:
        counts = {name: int((places >= 0).sum()) for name, places in reuse.positions.items()}
        runs = {"from": context.plan.lineage.parent.run, "root": context.plan.root.run}
        record["carried"] = {**counts, **runs}
    return record


def _make_damping_record(context: RunContext) -> dict[str, object]:
    """How each model's damping was chosen, and which models that leaves out of the mean."""
    choices = [member.damping_choice for member in context.members if member.damping_choice]
    if not choices:
        return {}
    first, *others = map(asdict, choices)
    record: dict[str, object] = {"chosen": first, "chosen_for_others": others}
    if context.excluded_members:
        names = [context.study.model.path, *context.study.models]
        record["left_out"] = make_excluded_record(names, choices, context.excluded_members)
    return record


def _make_run_row(
    context: RunContext,
    run: str,
    seconds: float,
    recalls: Sequence[Recall],
    outcome: ForecastVsActual | None,
) -> pl.DataFrame:
    store = context.store
    record, fingerprint_inputs = store.read_record(run), store.read_record(run).parts
    queries = store.scan("queries", run).select("correct", "truncated").collect()
    quarantined = store.scan("solves", run).select(pl.col("reason").count()).collect().item()
    curvature: dict[str, object] = fingerprint_inputs["curvature"]  # type: ignore[assignment]
    candidates: dict[str, object] = fingerprint_inputs["candidates"]  # type: ignore[assignment]
    curvature = curvature | _make_damping_record(context)
    if context.k_selection:
        candidates = candidates | {"chosen": asdict(context.k_selection)}
    if context.plan.method:
        candidates = candidates | {"method": make_record(context.plan.method)}
    candidates = candidates | _make_lineage_record(context)
    fingerprint_inputs = fingerprint_inputs | {"curvature": curvature, "candidates": candidates}
    columns = {
        "run": run,
        "study": record.study,
        "fingerprint": record.fingerprint,
        "created": datetime.fromisoformat(record.created),
        "finished": datetime.now(UTC),
        "train_rows": record.train_rows,
        "query_rows": record.query_rows,
        "parameters": context.objective.space.size,
        "damping": context.damping,
        **{
            name: json.dumps(fingerprint_inputs[name])
            for name in ("solver", "curvature", "candidates")
        },
        "model_digest": fingerprint_inputs["model"],
        "train_digest": fingerprint_inputs["train"],
        "query_digest": fingerprint_inputs["queries"],
        "accuracy": queries["correct"].mean(),
        "quarantined_queries": quarantined,
        "truncated_queries": int(queries["truncated"].sum()),
        "truncated_train": int(context.train_texts.truncated.sum()),
        "seconds": seconds,
        "versions": json.dumps(read_versions()),
        "recall": json.dumps(make_recall_records(recalls)) if recalls else None,
        "forecast": outcome.to_json() if outcome else None,
        "training": provenance.to_json() if (provenance := get_provenance(context)) else None,
    }
    return pl.DataFrame([columns]).select(polars_schema(RUNS).names()).cast(polars_schema(RUNS))
