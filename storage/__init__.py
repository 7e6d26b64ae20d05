"""Result store of influence runs: Parquet tables with atomic commits, run by run.

A `Store` belongs to one study and is stored in one folder or S3 prefix. A run is opened with a
`RunRecord`, its queries are split into `Shard`s, and each shard is committed atomically: its
Parquet files are written first, named by their SHA-256, and one JSON manifest makes them visible
together. A killed process therefore leaves either a whole shard or none, and an interrupted run
resumes at the first missing shard.

Tables are read lazily with `Store.scan`, which returns a Polars `LazyFrame`; the functions
`find_*`, `rank_*`, `sum_*` and `join_*` are queries on these frames. The package imports no models,
tensors or workflow engine.
"""

from storage.errors import StoreError
from storage.queries import (
    count_top_appearances,
    filter_slice,
    find_affected_queries,
    find_most_harmful,
    find_most_helpful,
    find_quarantined,
    find_worst_queries,
    join_examples,
    join_queries,
    rank_harmful_rows,
    sum_totals,
)
from storage.run_record import RunRecord, RunStatus, compute_fingerprint
from storage.schemas import polars_schema
from storage.shards import Shard, plan_shards
from storage.store import Store

__all__ = [
    "RunRecord",
    "RunStatus",
    "Shard",
    "Store",
    "StoreError",
    "compute_fingerprint",
    "count_top_appearances",
    "filter_slice",
    "find_affected_queries",
    "find_most_harmful",
    "find_most_helpful",
    "find_quarantined",
    "find_worst_queries",
    "join_examples",
    "join_queries",
    "plan_shards",
    "polars_schema",
    "rank_harmful_rows",
    "sum_totals",
]
