"""The tables of an audit, and the schema of any table of the store by name.

With columns, types, units and the sign convention.

The convention is written into each Parquet file, so a file that was copied out of its store still
says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from storage.fields import (
    QUERY_POSITION,
    TRAIN_POSITION,
    make_field,
    make_group_fields,
    make_schema,
)
from storage.mislabel_schemas import MISLABELS, VERDICTS
from storage.runs_schema import RUNS

_EXAMPLE = (
    make_field("id", pa.string(), "the study's own id of the example"),
    make_field("text", pa.string(), "first text column"),
    make_field(
        "text_pair", pa.string(), "second text column; null if the study has one", nullable=True
    ),
    make_field("label", pa.string(), "given label"),
    make_field(
        "prediction",
        pa.string(),
        "label the model predicts; null if its outputs are not finite",
        nullable=True,
    ),
    make_field(
        "loss", pa.float32(), "loss at the given label; null if not finite", "nats", nullable=True
    ),
    make_field(
        "probability",
        pa.float32(),
        "probability the model gives to the given label; null if not finite",
        nullable=True,
    ),
    make_field("correct", pa.bool_(), "prediction equals label"),
    make_field("truncated", pa.bool_(), "the text was longer than the model reads and was cut"),
)

SCORES: Final = make_schema(
    "scores",
    (
        QUERY_POSITION,
        TRAIN_POSITION,
        make_field("rank", pa.uint32(), "0 = most harmful of its query; ascending removal_effect"),
        make_field("removal_effect", pa.float32(), "see fastif.convention", "nats"),
        make_field(
            "distance",
            pa.float32(),
            "distance the candidate index reports; null in a full scan",
            nullable=True,
        ),
        make_field(
            "spread",
            pa.float32(),
            "standard deviation of removal_effect over the study's models; null for one model",
            "nats",
            nullable=True,
        ),
    ),
)

SOLVES: Final = make_schema(
    "solves",
    (
        QUERY_POSITION,
        make_field(
            "reason",
            pa.string(),
            "why the query was quarantined, with no scores; null if all is well",
            nullable=True,
        ),
        make_field(
            "residual",
            pa.float32(),
            "|b - Ax| / |b| of the damped operator A solved with; null if there is no solution",
            nullable=True,
        ),
        make_field(
            "full_residual",
            pa.float32(),
            "the same with the curvature of all training rows; null if not measured",
            nullable=True,
        ),
        make_field("converged", pa.bool_(), "the solver reached its own tolerance"),
        make_field("steps", pa.uint32(), "curvature sweeps taken"),
        make_field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        make_field(
            "gradient_norm",
            pa.float32(),
            "|b|, norm of the query's gradient; null if not finite",
            nullable=True,
        ),
        make_field(
            "solution_norm",
            pa.float32(),
            "|x|, norm of s_test; null if there is no solution",
            nullable=True,
        ),
        make_field(
            "gradient_cosine",
            pa.float32(),
            "cosine of s_test with the query's gradient; near 1 = the solve changed only the scale",
            nullable=True,
        ),
        make_field(
            "score_correlation",
            pa.float32(),
            "correlation of the scores with the plain gradient product, over a fixed sample of "
            "training rows; null if one of them is constant",
            nullable=True,
        ),
        make_field(
            "resembles_gradient_product",
            pa.bool_(),
            "that correlation is beyond 0.99: the curvature might as well not be there",
        ),
        make_field(
            "spread",
            pa.float32(),
            "relative spread over LiSSA's repeats; null for other solvers",
            nullable=True,
        ),
        make_field(
            "dropped", pa.uint32(), "training rows without a score, their gradient not finite"
        ),
        make_field("models", pa.uint32(), "models averaged; evidence is the worst of theirs"),
        make_field(
            "agreement",
            pa.float32(),
            "mean rank correlation of the models' scores over that sample; null for one model",
            nullable=True,
        ),
        make_field(
            "held",
            pa.float32(),
            "share of the total size of effects that the candidates hold, by an estimate from that "
            "sample; null in a full scan",
            nullable=True,
        ),
        make_field(
            "rounding",
            pa.float32(),
            "rank correlation of scores in low precision or of low rank with those in full over "
            "that sample; null where they are in full",
            nullable=True,
        ),
        make_field(
            "least_eigenvalue",
            pa.float64(),
            "lower bound of the least eigenvalue of (H + lambda I), lambda where H is a "
            "Gauss-Newton matrix; 0 or less: its sign was not found; null if not known",
            nullable=True,
        ),
        make_field(
            "route",
            pa.string(),
            "how gradients of examples were taken: hooks, or one by one and why; null where none "
            "were",
            nullable=True,
        ),
        make_field(
            "leverage",
            pa.string(),
            '"on": a removal_effect is that of one Newton step once the row and its curvature are '
            'gone; "off: " and why it is to first order; null if not known',
            nullable=True,
        ),
        make_field("solver", pa.string(), "kind of the solver"),
        make_field(
            "origin",
            pa.string(),
            "earlier run that computed the answer, with its curvature; null for this run",
            nullable=True,
        ),
    ),
)

TOTALS: Final = make_schema(
    "totals",
    (
        TRAIN_POSITION,
        make_field("correct", pa.bool_(), "of the queries: predicted correctly"),
        make_field(
            "group", pa.string(), "of the queries: first of the study's groups", nullable=True
        ),
        make_field("queries", pa.uint32(), "queries that were added up"),
        make_field("removal_effect", pa.float64(), "sum over these queries, every score", "nats"),
    ),
)


TABLES: Final = ("scores", "solves", "queries", "totals", "train", "runs")
KEYS: Final = {
    "scores": ("query", "train"),
    "solves": ("query",),
    "queries": ("query",),
    "totals": ("train", "correct", "group"),
    "train": ("train",),
    "runs": ("run",),
    "mislabels": ("train",),
    "verdicts": ("row", "reviewer"),
}
"""Columns that name a row of a table; no table holds the same key twice."""


def queries_schema(groups: Sequence[str]) -> pa.Schema:
    """One row a query, with one nullable column ``group_<name>`` for each of `groups`."""
    return make_schema("queries", (QUERY_POSITION, *_EXAMPLE, *make_group_fields(groups)))


def train_schema(groups: Sequence[str]) -> pa.Schema:
    """One row a training example, with one nullable column ``group_<name>`` for each group."""
    own_effect = make_field(
        "self_influence",
        pa.float32(),
        "removal_effect of the example on its own loss; null if not computed",
        "nats",
        nullable=True,
    )
    trained = make_field(
        "trained",
        pa.bool_(),
        "the model was fitted to the row with its label; null where that is not known",
        nullable=True,
    )
    return make_schema(
        "train", (TRAIN_POSITION, *_EXAMPLE, own_effect, trained, *make_group_fields(groups))
    )


def table_schema(table: str, groups: Sequence[str] = ()) -> pa.Schema:
    """Schema of a table by name; `groups` matter to queries and train only.

    Raises:
        KeyError: no such table.
    """
    if table == "queries":
        return queries_schema(groups)
    if table == "train":
        return train_schema(groups)
    others = {"totals": TOTALS, "runs": RUNS, "mislabels": MISLABELS, "verdicts": VERDICTS}
    return {"scores": SCORES, "solves": SOLVES, **others}[table]


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """Give the same columns as Polars types, to build a frame or an empty one."""
    empty = pl.from_arrow(schema.empty_table())
    return empty.collect_schema() if isinstance(empty, pl.DataFrame) else pl.Schema()
