"""Recall of the candidates, measured by full scans of a sample of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.recall import (
    DEFAULT_SIZES,
    Recall,
    compute_recall,
    compute_score_agreement,
)
from fastif.numerics.stratified_sample import Column, raking_weights, stratified_sample
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.planning.further_devices import LeasedDevices
from tasks.planning.open_run import lease_run
from tasks.run.assemble import make_member_attributor, make_search
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.reuse import get_reuse, read_reused_recall
from tasks.run.selections import MIN_QUERIES
from tasks.run.spec import RunRef
from tasks.runtime.progress import progress_stage
from tasks.runtime.retries import retry_if_transient
from tasks.study.target_kind import ONE_CLASS

SEED = 1_618_033_988
"""Random seed of the sample of queries."""


@dataclass(frozen=True, eq=False)
class CheckQueries:
    """Queries that are scanned in full.

    Attributes:
        ids: Positions of the queries, [s].
        weights: Raking weights: the number of queries that each one represents, [s].
        groups: Label of each query (key "label") and, if queries have groups, its slice (key
            "slice").
    """

    ids: torch.Tensor
    weights: torch.Tensor
    groups: Mapping[str, Column]


@task(name="check-recall", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient)
def check_recall(ref: RunRef) -> list[Recall]:
    """Measure the recall of the run's candidates, overall and for each of several methods.

    Returns the recall of the parent run in an incremental run, since its candidates are found in
    the same way.

    Returns:
        Recall entries; empty for a full scan, and if `check` is 0.
    """
    with lease_run(ref) as context:
        count = context.candidates.checked_queries
        if not count:
            return []
        if get_reuse(context):
            return read_reused_recall(context)
        eligible = _exclude_k_queries(context, _read_answered_ids(context, ref.run), count)
        sample = sample_queries(context, eligible, count, SEED)
        if not len(sample.ids):
            return []
        full_scan = run_full_scan(context, sample.ids).influences
        ids, effects = _read_candidates(context, ref.run, sample.ids)
        ids_by_method = {None: ids, **_find_candidates_by_method(context, sample.ids)}
        first, *others = (
            replace(entry, method=name)
            for name, method_ids in ids_by_method.items()
            for entry in compute_recall(
                method_ids, full_scan, weights=sample.weights, groups=sample.groups
            )
        )
        if context.has_sketch_scores:
            first = replace(first, agreement=compute_score_agreement(ids, effects, full_scan))
        return [first, *others]


def make_recall_records(recalls: Sequence[Recall]) -> list[dict]:
    """Return the records for the column `recall` of the table `runs`."""
    return [asdict(entry) for entry in recalls]


def sample_queries_for_k(context: RunContext) -> CheckQueries:
    """Return the fixed sample of queries on which k is selected."""
    count = max(context.study.candidates.checked_queries, MIN_QUERIES)
    return sample_queries(context, torch.arange(len(context.query_examples)), count, SEED + 1)


def sample_queries(
    context: RunContext, positions: torch.Tensor, count: int, seed: int
) -> CheckQueries:
    """Return a random sample of queries, stratified by label and slice, with weights."""
    if not len(positions):
        return CheckQueries(positions, positions.double(), {})
    table, names = context.plan.inputs.queries, context.study.labels
    chosen = table.take(positions.tolist())
    # numbers and sets of labels are no strata
    columns = {"label": chosen.name_targets(names)} if table.kind in ONE_CLASS else {}
    for group in list(table.groups.values())[:1]:
        columns["slice"] = [group[i] for i in positions.tolist()]
    strata = list(columns.values()) or [["all"] * len(positions)]
    sampled = stratified_sample(strata, count, seed)
    groups = {name: [column[i] for i in sampled.tolist()] for name, column in columns.items()}
    return CheckQueries(positions[sampled], raking_weights(strata, sampled), groups)


def run_full_scan(context: RunContext, ids: torch.Tensor) -> fastif.Attribution:
    """Score every training row for these queries and return the top-k and bottom-k."""
    full_scan = fastif.ExhaustiveSearch(max(DEFAULT_SIZES))
    members = [
        replace(make_member_attributor(member, full_scan), certify_rows=0)
        for member in context.averaged_members
    ]
    with progress_stage(
        "recall: full scan of a few queries", len(get_train_examples(context)), is_distinct=True
    ) as track:
        # computed from its own training set, since the tracked one is a wrapper
        leverage, tracked = members[0].row_leverage, track(members[0].train)
        members[0] = replace(members[0], train=tracked, leverage=leverage)
        ensemble = fastif.Ensemble(
            members, row_scale=context.row_scale, by_cosine=context.ranks_by_cosine
        )
        return ensemble(get_query_examples(context), ids, further=LeasedDevices(context))


def _exclude_k_queries(context: RunContext, answered_ids: torch.Tensor, count: int) -> torch.Tensor:
    """Exclude the queries on which k was selected, since recall is optimistic on them."""
    if context.k_selection is None:
        return answered_ids
    others = answered_ids[~torch.isin(answered_ids, sample_queries_for_k(context).ids)]
    return others if len(others) >= count else answered_ids


def _read_answered_ids(context: RunContext, run: str) -> torch.Tensor:
    solves = context.store.scan("solves", run).filter(pl.col("reason").is_null())
    positions = solves.select("query").collect()["query"].to_list()
    return torch.tensor(sorted(positions), dtype=torch.long)


def _read_candidates(
    context: RunContext, run: str, ids: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Read the candidates of each query and their effects."""
    scores = context.store.scan("scores", run).filter(pl.col("query").is_in(ids.tolist()))
    pairs = scores.select("query", "train", "removal_effect").collect()
    by_query = pairs.group_by("query").agg("train", "removal_effect").rows_by_key("query")
    no_pairs: list[tuple] = [([], [])]
    lists = [by_query.get(query, no_pairs)[0] for query in ids.tolist()]
    candidate_ids = [torch.tensor(train, dtype=torch.long) for train, _ in lists]
    return candidate_ids, [torch.tensor(effects) for _, effects in lists]


def _find_candidates_by_method(
    context: RunContext, ids: torch.Tensor
) -> dict[str, list[torch.Tensor]]:
    """Search the candidates of each method of a union separately; empty for one method."""
    methods = context.candidates.methods
    if len(methods) < 2:
        return {}
    gradients = fastif.Gradients(context.objective)
    queries = cache_hidden_states(
        context.objective, context.query_examples.subset(ids), context.study
    )
    names = _name_methods([method.kind for method in methods])
    return {
        name: list(search.find_candidates(gradients, queries).ids)
        for name, search in zip(names, make_search(context).methods, strict=True)
    }


def _name_methods(kinds: Sequence[str]) -> list[str]:
    """Return the kinds of several methods, with a number for kinds that occur twice.

    Examples:
        >>> _name_methods(["sketch", "knn", "sketch"])
        ['sketch 1', 'knn', 'sketch 3']
    """
    return [
        f"{kind} {index + 1}" if kinds.count(kind) > 1 else kind for index, kind in enumerate(kinds)
    ]
