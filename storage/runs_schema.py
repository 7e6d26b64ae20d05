"""Schema of the table `runs`: one row a finished run, with its settings, digests and durations."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from storage.fields import (
    make_field,
    make_schema,
)

RUNS: Final = make_schema(
    "runs",
    (
        make_field("run", pa.string(), "name of the run"),
        make_field("study", pa.string(), "name of the study"),
        make_field("fingerprint", pa.string(), "sha256 of everything the results depend on"),
        make_field("created", pa.timestamp("us", tz="UTC"), "time at which the run was opened"),
        make_field(
            "finished", pa.timestamp("us", tz="UTC"), "time at which its last shard was committed"
        ),
        make_field("train_rows", pa.uint32(), "number of training examples, n of the convention"),
        make_field("query_rows", pa.uint32(), "number of queries"),
        make_field(
            "parameters",
            pa.uint64(),
            "number of attributed parameters; of boosted trees the leaf values",
        ),
        make_field(
            "damping",
            pa.float64(),
            "effective lambda of (H + lambda I); null for boosted trees, which have none",
            nullable=True,
        ),
        make_field(
            "solver", pa.string(), "settings of the solver, or the method of boosted trees, JSON"
        ),
        make_field("curvature", pa.string(), "settings of the curvature, JSON"),
        make_field("candidates", pa.string(), "settings of the candidates, JSON"),
        make_field("model_digest", pa.string(), "sha256 of the model"),
        make_field("train_digest", pa.string(), "sha256 of the training table"),
        make_field("query_digest", pa.string(), "sha256 of the query table"),
        make_field(
            "accuracy",
            pa.float32(),
            "share of the queries with labels that are predicted correctly, 0 to 1; null if no "
            "query has a label",
            nullable=True,
        ),
        make_field(
            "quarantined_queries", pa.uint32(), "number of queries without scores, see table solves"
        ),
        make_field("truncated_queries", pa.uint32(), "number of queries with truncated text"),
        make_field("truncated_train", pa.uint32(), "number of training rows with truncated text"),
        make_field("seconds", pa.float64(), "wall time of the run", "seconds"),
        make_field("versions", pa.string(), "versions of the libraries that computed it, JSON"),
        make_field(
            "recall",
            pa.string(),
            "recall of the candidates, measured by a full scan of some queries, JSON; null in a "
            "full scan",
            nullable=True,
        ),
        make_field(
            "forecast",
            pa.string(),
            "[forecast, measured] seconds of each stage and bytes of memory and disk, JSON; "
            "null without a forecast",
            nullable=True,
        ),
        make_field(
            "training",
            pa.string(),
            "differences of the model's training record and the study, JSON; null without a record",
            nullable=True,
        ),
    ),
)
"""Schema of the table `runs`."""
