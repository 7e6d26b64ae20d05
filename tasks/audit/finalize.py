"""Last commit of a run: its row of the table `runs`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif.evaluation.recall import Recall
from storage import Store, StoreError, polars_schema
from storage.runs_schema import RUNS
from tasks.audit.check_recall import make_recall_records
from tasks.planning.actuals import ForecastVsActual
from tasks.planning.open_run import lease_run
from tasks.run.artifact_keys import index_digests
from tasks.run.assemble import get_provenance
from tasks.run.context import RunContext
from tasks.run.reuse import get_reuse
from tasks.run.selections import (
    AGREEMENT,
    BUDGET,
    DAMPING,
    ESTIMATOR,
    METHOD,
    PRECISION,
    ROWS,
    K,
)
from tasks.run.sketches import read_sketcher_digest
from tasks.run.spec import FINISH, RunRef, list_missing_shards
from tasks.run.stored_agreement import read_agreement
from tasks.run.tree_run import make_tree_record
from tasks.runtime.versions import read_versions


@task(name="finish-run", cache_policy=NO_CACHE)
def finish_run(
    ref: RunRef,
    seconds: float,
    recalls: Sequence[Recall] = (),
    outcome: ForecastVsActual | None = None,
) -> None:
    """Commit the run's row of the table `runs`, after all shards.

    Args:
        ref: Reference of the run.
        seconds: Wall time of the flow.
        recalls: Measured recall of the candidates; empty if not measured.
        outcome: Forecast and actual values; None without a forecast.

    Raises:
        StoreError: A shard is missing.
    """
    with lease_run(ref) as context:
        missing = list_missing_shards(context.store, ref.run)
        if missing:
            raise StoreError(
                f"run {ref.run}",
                expected="every shard committed",
                got=f"{len(missing)} missing, the first is {missing[0].key}",
                remedy="Run the audit again; it computes only the missing shards.",
            )
        context.store.commit(
            ref.run, FINISH, {"runs": _make_run_row(context, ref.run, seconds, recalls, outcome)}
        )


def _make_run_row(
    context: RunContext,
    run: str,
    seconds: float,
    recalls: Sequence[Recall],
    outcome: ForecastVsActual | None,
) -> pl.DataFrame:
    record, provenance = context.store.read_record(run), get_provenance(context)
    columns = {
        "run": run,
        "study": record.study,
        "fingerprint": record.fingerprint,
        "created": datetime.fromisoformat(record.created),
        "finished": datetime.now(UTC),
        "train_rows": record.train_rows,
        "query_rows": record.query_rows,
        "parameters": context.objective.space.size,
        "damping": None if context.study.has_trees else context.averaged_members[0].damping,
        **_make_setting_columns(context, record.parts),
        **_make_answer_columns(context.store, run),
        "truncated_train": int(context.train_examples.truncated.sum()),
        "seconds": seconds,
        "versions": json.dumps(read_versions()),
        "recall": json.dumps(make_recall_records(recalls)) if recalls else None,
        "forecast": outcome.to_json() if outcome else None,
        "training": provenance.to_json() if provenance else None,
    }
    return pl.DataFrame([columns]).select(polars_schema(RUNS).names()).cast(polars_schema(RUNS))


def _make_setting_columns(context: RunContext, parts: Mapping[str, Any]) -> dict[str, object]:
    """Return digests, and sections of the study with the selected settings."""
    sections = {
        "solver": parts["solver"] | make_tree_record(context),
        "curvature": parts["curvature"]
        | _make_damping_record(context)
        | _make_rows_record(context),
        "candidates": parts["candidates"] | _make_candidates_record(context),
    }
    return {
        **{name: json.dumps(section) for name, section in sections.items()},
        "model_digest": parts["model"],
        "train_digest": parts["train"],
        "query_digest": parts["queries"],
    }


def _make_answer_columns(store: Store, run: str) -> dict[str, object]:
    """Return accuracy and the numbers of quarantined and truncated queries."""
    queries = store.scan("queries", run).select("correct", "truncated").collect()
    quarantined = store.scan("solves", run).select(pl.col("reason").count()).collect().item()
    return {
        "accuracy": queries["correct"].mean(),
        "quarantined_queries": quarantined,
        "truncated_queries": int(queries["truncated"].sum()),
    }


def _make_damping_record(context: RunContext) -> dict[str, object]:
    """Return each model's selected damping, and the models excluded from the average."""
    every = [member.ekfac_choice or member.damping_choice for member in context.members]
    choices = [choice for choice in every if choice]
    if not choices:
        return {}
    first, *others = map(DAMPING.make_record, choices)
    record: dict[str, object] = {"chosen": first, "chosen_for_others": others}
    if context.study.model.factory is not None:
        record["retrainable"] = False
    names = [context.study.model.path, *context.study.further_models]
    if context.estimator_choice is not None:
        record[ESTIMATOR.key] = ESTIMATOR.make_record(context.estimator_choice)
        record["models"] = names
    trainings = len(names) - len(context.study.estimator.folders)
    left_out = [place for place in context.excluded_members if place < trainings]
    if trainings > 1 and left_out:
        best = max(choice.best_agreement for choice in choices)
        record["left_out"] = [
            {"model": names[place], "agreement": choices[place].best_agreement, "best": best}
            for place in left_out
        ]
    return record


def _make_rows_record(context: RunContext) -> dict[str, object]:
    """Return the selected curvature rows, the selection for a budget, and the agreement."""
    rows, selection = context.plan.rows, context.plan.selection
    record: dict[str, object] = {}
    if rows is not None and rows.reason:
        record[ROWS.key] = ROWS.make_record(rows)
    if selection is not None:
        record[BUDGET.key] = BUDGET.make_record(selection)
    if context.study.curvature.sample_size is not None:
        agreement = read_agreement(context)
        if agreement is not None:
            record[AGREEMENT.key] = AGREEMENT.make_record(agreement)
    return record


def _make_candidates_record(context: RunContext) -> dict[str, object]:
    """Return selected settings, the sketcher for incremental runs, and numbers of reused rows."""
    record: dict[str, object] = {}
    if context.k_selection:
        record["chosen"] = K.make_record(context.k_selection)
    if context.precision_selection:
        record[PRECISION.key] = PRECISION.make_record(context.precision_selection)
    if context.plan.method:
        record["method"] = METHOD.make_record(context.plan.method)
    if context.has_sketch_scores:
        record["sketcher"] = read_sketcher_digest(context.store, index_digests(context.searcher)[0])
    reuse, lineage = get_reuse(context), context.plan.lineage
    if reuse and lineage and lineage.parent:
        counts = {name: int((places >= 0).sum()) for name, places in reuse.positions.items()}
        record["carried"] = {**counts, "from": lineage.parent.run, "root": lineage.root.run}
    return record
