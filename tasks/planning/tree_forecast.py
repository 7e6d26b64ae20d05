"""Forecast of an audit of boosted trees: the rounds of boosting, priced at one of them."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from fastif.trees.training import TreeTraining, refit_leaves
from fastif.trees.tree_attributor import TreeAttributor
from storage import Shard
from tasks.planning.disk import BYTES_PER_SCORE, BYTES_PER_TOTAL
from tasks.planning.forecast_record import Forecast
from tasks.planning.memory import BASE_MEMORY
from tasks.run.context import RunContext
from tasks.run.tree_run import get_tree_queries, make_tree_scan

TIMED_QUERIES = 8
SCAN = "score"
"""Stage of the scan of all training rows."""


def forecast_trees(context: RunContext, shards: Sequence[Shard]) -> Forecast:
    """Forecast the remaining shards from the time of one round of boosting."""
    queries, rows = sum(map(len, shards)), len(context.train_examples)
    seconds = _estimate_scan(context, queries, len(shards)) if queries else 0.0
    kept = min(context.candidates.count_kept_scores(rows), rows)
    sums = context.candidates.has_totals * len(shards) * rows * BYTES_PER_TOTAL
    tables = (context.plan.inputs.train, context.plan.inputs.queries)
    characters = sum(len(text) for table in tables for text in table.texts)
    training = make_tree_scan(context).objective.training
    return Forecast(
        shards=len(shards),
        queries=queries,
        pairs=queries * kept,
        stages={"solve": 0.0, "certificate": 0.0, SCAN: seconds},
        memory=BASE_MEMORY + 2**30 + training.leaves.nbytes,
        disk=queries * kept * BYTES_PER_SCORE + sums + characters // 2 if shards else 0,
        notes=tuple(context.objective.notes),
    )


def _estimate_scan(context: RunContext, queries: int, shards: int) -> float:
    """Return the seconds of the scan of all rows, measured on the first round of boosting."""
    scan = make_tree_scan(context)
    training = scan.objective.training
    rounds = len(training.ensemble.rounds)
    first = _take_first_round(training)
    if scan.method == "leaf-refit":
        leaves = first.ensemble.assign(get_tree_queries(context).rows[:TIMED_QUERIES])
        weights = first.weights[None]
        fits = len(training) * shards  # without each row, for all queries of a shard
        return rounds * fits * _time_call(lambda: refit_leaves(first, weights, leaves))
    attribute = TreeAttributor(first, scan.method, scan.attributor.measure)
    examples = get_tree_queries(context)
    few = torch.arange(min(TIMED_QUERIES, len(examples)))
    rows, labels = examples.rows[few], examples.labels[few]
    seconds = _time_call(lambda: attribute.compute_effects(rows, labels))
    if scan.method == "kernel":  # its n x n system is solved for a tile of queries at once
        return shards * seconds * (1 + 0.01 * rounds)
    return rounds * queries / len(few) * seconds


def _take_first_round(training: TreeTraining) -> TreeTraining:
    ensemble = training.ensemble
    count = len(ensemble.rounds[0])
    return replace(
        training,
        ensemble=replace(ensemble, rounds=ensemble.rounds[:1]),
        leaves=training.leaves[:count],
        l2=training.l2[:count],
    )


def _time_call(call: object) -> float:
    """Return the seconds of a call, the lesser of two."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        seconds.append(time.perf_counter() - start)
    return min(seconds)
