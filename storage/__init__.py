"""Pure data at rest: tables of influence scores that survive being killed.

A `Store` belongs to one study. A run is opened with a `RunRecord`, its queries are cut into
`Shard` pieces, and each is committed whole or not at all. `storage.queries` asks the questions.
Knows nothing of models, tensors or workflows.
"""

from storage.atomic import commit_file, free_bytes, write_bytes
from storage.commits import Commit, FileEntry
from storage.errors import StoreError
from storage.fields import CONVENTION
from storage.garbage_collection import Leftover
from storage.parquet import write_table
from storage.paths import Layout
from storage.queries import (
    counted_in_top,
    harmful_rows,
    in_slice,
    most_harmful,
    most_helpful,
    quarantined,
    totals_of,
    touched_by,
    with_examples,
    with_queries,
    worst_queries,
)
from storage.run_record import (
    RunRecord,
    RunStatus,
    fingerprint,
    sha256_file,
)
from storage.schemas import (
    MISLABELS,
    RUNS,
    SCORES,
    SIGNALS,
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
from storage.uri import is_remote, location

__all__ = [
    "CONVENTION",
    "MISLABELS",
    "RUNS",
    "SCORES",
    "SIGNALS",
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
    "counted_in_top",
    "fingerprint",
    "free_bytes",
    "harmful_rows",
    "in_slice",
    "is_remote",
    "location",
    "most_harmful",
    "most_helpful",
    "plan_shards",
    "polars_schema",
    "quarantined",
    "queries_schema",
    "sha256_file",
    "table_schema",
    "totals_of",
    "touched_by",
    "train_schema",
    "with_examples",
    "with_queries",
    "worst_queries",
    "write_bytes",
    "write_table",
]
