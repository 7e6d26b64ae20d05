"""The table of runs: a row of it says what a run computed, of what, and how long it took."""

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
        make_field("created", pa.timestamp("us", tz="UTC"), "the run was opened"),
        make_field("finished", pa.timestamp("us", tz="UTC"), "its last shard was there"),
        make_field("train_rows", pa.uint32(), "training examples, n of the convention"),
        make_field("query_rows", pa.uint32(), "queries"),
        make_field("parameters", pa.uint64(), "attributed parameters"),
        make_field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        make_field("solver", pa.string(), "the solver's record, JSON"),
        make_field("curvature", pa.string(), "the curvature's record, JSON"),
        make_field("candidates", pa.string(), "the candidates' record, JSON"),
        make_field("model_digest", pa.string(), "sha256 of the model"),
        make_field("train_digest", pa.string(), "sha256 of the training table"),
        make_field("query_digest", pa.string(), "sha256 of the query table"),
        make_field("accuracy", pa.float32(), "share of queries predicted correctly"),
        make_field("quarantined_queries", pa.uint32(), "queries without scores, see table solves"),
        make_field("truncated_queries", pa.uint32(), "queries whose text was cut"),
        make_field("truncated_train", pa.uint32(), "training examples whose text was cut"),
        make_field("seconds", pa.float64(), "wall time of the run", "seconds"),
        make_field("versions", pa.string(), "versions of the libraries that computed it, JSON"),
        make_field(
            "recall",
            pa.string(),
            "what the candidates hold of a full scan of some queries, JSON; null in a full scan",
            nullable=True,
        ),
        make_field(
            "forecast",
            pa.string(),
            "seconds of each stage, bytes of memory and of disk, each [forecast, measured], JSON; "
            "null if nothing was forecast",
            nullable=True,
        ),
        make_field(
            "training",
            pa.string(),
            "how the record beside the model differs from the study, JSON; null without a record",
            nullable=True,
        ),
    ),
)
