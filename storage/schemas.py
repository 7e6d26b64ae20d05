"""Schemas of the tables of a store: columns, types, units and sign convention.

The convention is part of the metadata of each Parquet file, so that a file copied out of its store
is still self-describing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from storage.example_schemas import queries_schema, train_schema
from storage.fields import QUERY_POSITION, TRAIN_POSITION, make_field, make_schema
from storage.mislabel_schemas import MISLABELS, VERDICTS
from storage.runs_schema import RUNS
from storage.target_schemas import WRONG_TARGETS

SCORES: Final = make_schema(
    "scores",
    (
        QUERY_POSITION,
        TRAIN_POSITION,
        make_field(
            "rank",
            pa.uint32(),
            "0 = most harmful for the query; ascending ranking_score, or removal_effect where that "
            "is null",
        ),
        make_field(
            "removal_effect",
            pa.float32(),
            "change of the query's measure if the row were removed, positive if it becomes worse; "
            "sign: fastif.convention",
            "nats; logits for a margin",
        ),
        make_field(
            "distance",
            pa.float32(),
            "distance in the candidate index; null in a full scan",
            nullable=True,
        ),
        make_field(
            "spread",
            pa.float32(),
            "standard deviation of removal_effect over the study's models; null for one model",
            "nats",
            nullable=True,
        ),
        make_field(
            "ranking_score",
            pa.float32(),
            "ranking that agrees best with retraining: removal_effect divided by a power of the "
            "row's norm, or the gradient cosine; without unit; null where removal_effect ranks",
            nullable=True,
        ),
    ),
)
"""Schema of the table `scores`: one row a query and scored training row."""

SOLVES: Final = make_schema(
    "solves",
    (
        QUERY_POSITION,
        make_field(
            "reason",
            pa.string(),
            "why the query is quarantined and has no scores; null if it has scores",
            nullable=True,
        ),
        make_field(
            "residual",
            pa.float32(),
            "|b - Ax| / |b| with the damped operator A of the solve; null without a solution",
            nullable=True,
        ),
        make_field(
            "full_residual",
            pa.float32(),
            "|b - Ax| / |b| with the curvature of all training rows; null if not measured",
            nullable=True,
        ),
        make_field("converged", pa.bool_(), "the solver reached its tolerance"),
        make_field("steps", pa.uint32(), "number of passes over the curvature"),
        make_field(
            "damping",
            pa.float64(),
            "effective lambda of (H + lambda I); null where no linear system is solved",
            nullable=True,
        ),
        make_field(
            "gradient_norm",
            pa.float32(),
            "|b|, norm of the query's loss gradient; null if not finite",
            nullable=True,
        ),
        make_field(
            "solution_norm",
            pa.float32(),
            "|x|, norm of the solution s_test; null without a solution",
            nullable=True,
        ),
        make_field(
            "gradient_cosine",
            pa.float32(),
            "cosine of s_test and the query's gradient; near 1 = the solve changed only the scale",
            nullable=True,
        ),
        make_field(
            "score_correlation",
            pa.float32(),
            "correlation of the scores with inner products of gradients, over the control sample "
            "of training rows; null if either is constant",
            nullable=True,
        ),
        make_field(
            "resembles_gradient_product",
            pa.bool_(),
            "score_correlation is above 0.99, so the curvature makes no difference",
        ),
        make_field(
            "spread",
            pa.float32(),
            "relative standard deviation over the repeats of LiSSA; null for other solvers",
            nullable=True,
        ),
        make_field(
            "dropped", pa.uint32(), "training rows without a score, since a gradient is not finite"
        ),
        make_field("models", pa.uint32(), "number of averaged models; diagnostics are the worst"),
        make_field(
            "agreement",
            pa.float32(),
            "mean rank correlation of the models over the control sample; null for one model",
            nullable=True,
        ),
        make_field(
            "held",
            pa.float32(),
            "share of the total absolute effect that the candidates capture, estimated from the "
            "control sample; null in a full scan",
            nullable=True,
        ),
        make_field(
            "rounding",
            pa.float32(),
            "rank correlation of the low-precision or low-rank scores with exact ones over the "
            "control sample; null if all scores are exact",
            nullable=True,
        ),
        make_field(
            "least_eigenvalue",
            pa.float64(),
            "lower bound of the least eigenvalue of (H + lambda I), lambda where H is a "
            "Gauss-Newton matrix; 0 or less: sign not determined; null if unknown",
            nullable=True,
        ),
        make_field(
            "route",
            pa.string(),
            "how per-example gradients were computed: hooks, or one by one and why; null if none "
            "were computed",
            nullable=True,
        ),
        make_field(
            "leverage",
            pa.string(),
            '"on": removal_effect with leverage correction: one Newton step without the row '
            'and its curvature; "off: " and why it is first-order; null if unknown',
            nullable=True,
        ),
        make_field("solver", pa.string(), "kind of the solver"),
        make_field(
            "origin",
            pa.string(),
            "parent run that computed the scores with its curvature; null for this run",
            nullable=True,
        ),
    ),
)
"""Schema of the table `solves`: one row a query, with the certificate of its solve."""

TOTALS: Final = make_schema(
    "totals",
    (
        TRAIN_POSITION,
        make_field(
            "correct",
            pa.bool_(),
            "slice: whether the queries are predicted correctly; null for those without a label",
            nullable=True,
        ),
        make_field(
            "group", pa.string(), "slice: value of the study's first group column", nullable=True
        ),
        make_field("queries", pa.uint32(), "number of queries in the sum"),
        make_field(
            "removal_effect",
            pa.float64(),
            "sum over these queries, of all scores",
            "nats; logits for a margin",
        ),
    ),
)
"""Schema of the table `totals`: effects summed over the queries of a slice."""


TABLES: Final = ("scores", "solves", "queries", "totals", "train", "runs")
"""Names of the tables of an influence run."""
KEYS: Final = {
    "scores": ("query", "train"),
    "solves": ("query",),
    "queries": ("query",),
    "totals": ("train", "correct", "group"),
    "train": ("train",),
    "runs": ("run",),
    "mislabels": ("train",),
    "verdicts": ("row", "reviewer"),
    "wrong_targets": ("train", "output"),
}
"""Key columns of each table; each key occurs at most once."""


def table_schema(table: str, groups: Sequence[str] = ()) -> pa.Schema:
    """Return the Arrow schema of a table.

    Args:
        table: Name of the table, a key of `KEYS`.
        groups: Names of the study's group columns; used for `queries` and `train` only.

    Raises:
        KeyError: The table does not exist.
    """
    if table == "queries":
        return queries_schema(groups)
    if table == "train":
        return train_schema(groups)
    others = {"totals": TOTALS, "runs": RUNS, "mislabels": MISLABELS, "verdicts": VERDICTS}
    others |= {"wrong_targets": WRONG_TARGETS}
    return {"scores": SCORES, "solves": SOLVES, **others}[table]


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """Convert an Arrow schema to a Polars schema.

    Args:
        schema: Schema of a table, from `storage.schemas.table_schema`.

    Returns:
        The same columns with Polars types, to build a frame that can be committed.
    """
    return pl.Schema(schema)
