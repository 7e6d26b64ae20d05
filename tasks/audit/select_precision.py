"""Task that selects the precision of the scores, if the study leaves it open."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.select_precision import PrecisionSelection, select_precision
from fastif.numerics.precision import SINGLE, Precision
from tasks.planning.open_run import lease_run
from tasks.planning.score_precision import list_offered_precisions
from tasks.run.artifact_keys import precision_digest
from tasks.run.assemble import make_member_attributor
from tasks.run.context import RunContext
from tasks.run.curvature import sample_rows
from tasks.run.hidden_states import get_query_examples
from tasks.run.selections import PRECISION
from tasks.run.spec import RunRef, list_missing_shards
from tasks.runtime.retries import retry_if_transient

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

    It is left at single precision where `list_offered_precisions` has none, and for a run with
    shards from before the choice existed.
    """
    with lease_run(ref) as context:
        missing = list_missing_shards(context.store, ref.run)
        is_new = len(missing) == len(context.plan.record.list_shards())
        offered = list_offered_precisions(context) if is_new else ()
        selection = _select(context, offered) if offered else None
        if selection is not None:
            PRECISION.write(context.store, precision_digest(context), selection)


def _select(context: RunContext, offered: Sequence[Precision]) -> PrecisionSelection | None:
    search = fastif.ExhaustiveSearch()
    members = [
        replace(make_member_attributor(member, search), certify_rows=0, precision=SINGLE)
        for member in context.averaged_members
    ]
    queries = sample_rows(len(context.query_examples), CONTROL_QUERIES, SEED)
    with torch.no_grad():
        return select_precision(members, get_query_examples(context), queries, offered)
