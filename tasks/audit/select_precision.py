"""Task that selects the precision of the scores, if the study leaves it open."""

from dataclasses import replace

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.select_precision import PrecisionSelection, select_precision
from fastif.numerics.precision import SINGLE, list_precisions
from tasks.planning.open_run import lease_run
from tasks.run.artifact_keys import precision_digest
from tasks.run.assemble import make_member_attributor
from tasks.run.context import RunContext
from tasks.run.curvature import sample_rows
from tasks.run.hidden_states import get_query_examples
from tasks.run.selections import PRECISION
from tasks.run.spec import RunRef, list_missing_shards
from tasks.runtime.retries import retry_if_transient

MIN_PRODUCTS = 1e12
"""Multiplications of scores above which another precision may save time: about ten seconds on two
cores. Below it, scores stay in single precision."""
CONTROL_QUERIES = 8
SEED = 1_414_213_562
"""Random seed of the sample of control queries."""


@task(
    name="choose-precision",
    cache_policy=NO_CACHE,
    retries=2,
    retry_condition_fn=retry_if_transient,
)
def choose_precision(ref: RunRef) -> None:
    """Select the precision before the first shard, unless it is set or was selected before.

    It is left at single precision where the scores are few, the device has no faster one, the run
    continues a parent run that had none, or it has shards from before the choice existed.
    """
    with lease_run(ref) as context:
        missing = list_missing_shards(context.store, ref.run)
        if not _is_open(context) or len(missing) < len(context.plan.record.list_shards()):
            return
        selection = _select(context)
        if selection is not None:
            PRECISION.write(context.store, precision_digest(context), selection)


def _is_open(context: RunContext) -> bool:
    return (
        context.study.score_precision == "auto"
        and context.precision_selection is None
        and context.plan.lineage is None
        and context.candidates.score_rank is None
        and not context.has_sketch_scores
        and not context.is_unrolled
        and count_score_products(context) >= MIN_PRODUCTS
    )


def count_score_products(context: RunContext) -> float:
    """Count the multiplications of all training gradients with the solutions of the queries."""
    queries, rows = len(context.query_examples), len(context.train_examples)
    shard = min(queries, context.study.run.shard_size)
    scored = context.candidates.estimate_distinct_candidates(rows, shard)
    return float(scored) * queries * context.objective.space.size * len(context.averaged_members)


def _select(context: RunContext) -> PrecisionSelection | None:
    offered = list_precisions(context.objective.like.device)
    if not offered:
        return None
    search = fastif.ExhaustiveSearch()
    members = [
        replace(make_member_attributor(member, search), certify_rows=0, precision=SINGLE)
        for member in context.averaged_members
    ]
    queries = sample_rows(len(context.query_examples), CONTROL_QUERIES, SEED)
    with torch.no_grad():
        return select_precision(members, get_query_examples(context), queries, offered)
