"""Pure data at rest: tables of influence scores that survive being killed.

A `Store` belongs to one study. A run is opened with a `RunRecord`, its queries are cut into
`Shard` pieces, and each is committed whole or not at all. `storage.queries` asks the questions.
Knows nothing of models, tensors or workflows.
"""

from storage.atomic import commit_file, count_free_bytes, write_bytes
from storage.commits import Commit, FileEntry
from storage.errors import StoreError
from storage.fields import CONVENTION
from storage.garbage_collection import Leftover
from storage.parquet import write_table
from storage.paths import Layout
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
from storage.run_record import (
    RunRecord,
    RunStatus,
    compute_fingerprint,
    sha256_file,
)
from storage.schemas import (
    LABEL_SCORES,
    MISLABELS,
    RUNS,
    SCORES,
    SOLVES,
    TOTALS,
    VERDICTS,
    polars_schema,
    queries_schema,
    table_schema,
    train_schema,
)
from storage.shards import Shard, plan_shards
from storage.store import Store
from storage.uri import is_remote, parse_location

__all__ = [
    "CONVENTION",
    "LABEL_SCORES",
    "MISLABELS",
    "RUNS",
    "SCORES",
    "SOLVES",
    "TOTALS",
    "VERDICTS",
    "Commit",
    "FileEntry",
    "Layout",
    "Leftover",
    "RunRecord",
    "RunStatus",
    "Shard",
    "Store",
    "StoreError",
    "commit_file",
    "compute_fingerprint",
    "count_free_bytes",
    "count_top_appearances",
    "filter_slice",
    "find_affected_queries",
    "find_most_harmful",
    "find_most_helpful",
    "find_quarantined",
    "find_worst_queries",
    "is_remote",
    "join_examples",
    "join_queries",
    "parse_location",
    "plan_shards",
    "polars_schema",
    "queries_schema",
    "rank_harmful_rows",
    "sha256_file",
    "sum_totals",
    "table_schema",
    "train_schema",
    "write_bytes",
    "write_table",
]
