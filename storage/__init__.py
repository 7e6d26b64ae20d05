"""Pure data at rest: tables of influence scores that survive being killed.

A `Store` belongs to one study. A run is opened with a `RunRecord`, its queries are cut into
`Shard` pieces, and each is committed whole or not at all. `storage.queries` asks the questions.
Knows nothing of models, tensors or workflows.
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
