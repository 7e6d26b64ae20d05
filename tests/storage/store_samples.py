"""Small tables with known content, for the tests and their child processes."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from storage import RunRecord, compute_fingerprint, plan_shards, polars_schema
from storage.example_schemas import queries_schema, train_schema
from storage.runs_schema import RUNS
from storage.schemas import SCORES, SOLVES, TOTALS

STUDY = "nli"
BUCKET = "audits"
RUN = "first"
QUERIES, TRAIN, SHARD, KEPT = 40, 30, 4, 6
GROUPS = ("suite", "heuristic")
SHARDS = plan_shards(QUERIES, SHARD)


def record(run=RUN, created="2026-01-02T03:04:05+00:00", study=STUDY, shard_size=SHARD, **parts):
    parts = {"damping": 0.1, "solver": {"kind": "dual"}, "model": "ab" * 32} | parts
    return RunRecord(
        run, study, compute_fingerprint(parts), created, parts, QUERIES, TRAIN, shard_size
    )


def scores(shard, writer=0):
    """Effects that depend on the query, so that rows of two shards differ.

    Odd queries have ranking scores.
    """
    rows = []
    for query in range(shard.start, shard.stop):
        random = np.random.default_rng(1000 * writer + query)
        train = random.choice(TRAIN, size=KEPT, replace=False)
        effects = np.sort(random.normal(size=KEPT).astype(np.float32))
        distances = random.random(KEPT).astype(np.float32)
        for rank in range(KEPT):
            distance, spread = (None if rank == 2 else float(distances[rank]) for _ in range(2))
            effect = float(effects[rank])
            ranking_score = 2 * effect if query % 2 else None
            rows.append((query, int(train[rank]), rank, effect, distance, spread, ranking_score))
    return frame(SCORES, rows)


def solves(shard, writer=0):
    """Solves in which query 3 of every ten is quarantined (it still has scores in this sample)."""
    rows = []
    for query in range(shard.start, shard.stop):
        lost = query % 10 == 3
        measured = (None, None) if lost else (0.01 * query, 0.1 * query)
        solved = (query % 2 == 0, 20, 0.1, 3.0, *((None,) * 3 if lost else (4.5, 0.75, 0.5)))
        reason = "Its gradient is not finite." if lost else None
        rest = (False, None, 2, 3, 0.875, None if lost else 0.625, None, 0.1, "hooks", "on")
        rest += (f"writer {writer}", None)
        rows.append((query, reason, *measured, *solved, *rest))
    return frame(SOLVES, rows)


def queries(shard, writer=0):
    rows = []
    for query in range(shard.start, shard.stop):
        answer = ("yes", "no", float(query), 0.25, False, True, "loss", float(query))
        rows.append((query, f"q{query}", "Straße 雪", None, *answer, f"suite {query % 3}", None))
    return frame(queries_schema(GROUPS), rows)


def totals(shard, writer=0):
    """Totals of two slices; the group of one is null."""
    rows = [
        (row, group is None, group, 2, writer + 0.5 * row - shard.index)
        for group in ("suite 1", None)
        for row in range(TRAIN)
    ]
    return frame(TOTALS, rows)


def train():
    rows = []
    for row in range(TRAIN):
        answer = ("no", "no", 0.5, 0.6, True, False)
        effect, weight = None if row % 2 else -0.25, 1.5 if row % 2 else None
        rows.append(
            (
                row,
                f"t{row}",
                f"text {row}",
                f"pair {row}",
                *answer,
                effect,
                None,
                weight,
                "suite",
                None,
            )
        )
    return frame(train_schema(GROUPS), rows)


def runs():
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    row = (RUN, STUDY, "ab" * 32, now, now, TRAIN, QUERIES, 2**40, 0.1, "{}", "{}", "{}")
    row += ("ab" * 32, "cd" * 32, "ef" * 32, 0.5, 4, 1, 2, 12.5, "{}", None, None, None)
    return frame(RUNS, [row])


def tables(shard, writer=0):
    return {
        "scores": scores(shard, writer),
        "solves": solves(shard, writer),
        "queries": queries(shard, writer),
        "totals": totals(shard, writer),
    }


def frame(schema, rows):
    return pl.DataFrame(rows, schema=polars_schema(schema), orient="row")
