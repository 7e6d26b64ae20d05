"""Every table of the store: columns, types, units and the sign convention.

The convention is written into each Parquet file, so a file that was copied out of its store still
says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

FORMAT: Final = "1"
CONVENTION: Final = (
    "removal_effect is the predicted change of the query's loss, in nats, if the training example "
    "were removed and the model retrained: (1/n) * grad L(query)^T (H + damping I)^-1 "
    "grad L(train); positive = the loss would rise = the training example is helpful, "
    "negative = the loss would fall = it is harmful."
)
GROUP: Final = "group_"


def _field(name: str, kind: pa.DataType, says: str, unit: str = "", null: bool = False) -> pa.Field:
    notes = {"description": says} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=null, metadata=notes)


def _schema(table: str, fields: Iterable[pa.Field]) -> pa.Schema:
    notes = {
        "fastif.format": FORMAT,
        "fastif.table": table,
        "fastif.convention": CONVENTION,
    }
    return pa.schema(list(fields), metadata=notes)


def _groups(groups: Sequence[str]) -> list[pa.Field]:
    return [
        _field(GROUP + name, pa.string(), f"study column {name}, by which reports group", null=True)
        for name in groups
    ]


_QUERY = _field("query", pa.uint32(), "position in the query table")
_TRAIN = _field("train", pa.uint32(), "position in the train table")

_EXAMPLE = (
    _field("id", pa.string(), "the study's own id of the example"),
    _field("text", pa.string(), "first text column"),
    _field("text_pair", pa.string(), "second text column; null if the study has one", null=True),
    _field("label", pa.string(), "given label"),
    _field("prediction", pa.string(), "label the model predicts"),
    _field("loss", pa.float32(), "loss at the given label", "nats"),
    _field("probability", pa.float32(), "probability the model gives to the given label"),
    _field("correct", pa.bool_(), "prediction equals label"),
    _field("truncated", pa.bool_(), "the text was longer than the model reads and was cut"),
)

SCORES: Final = _schema(
    "scores",
    (
        _QUERY,
        _TRAIN,
        _field("rank", pa.uint32(), "0 = most harmful of its query; ascending removal_effect"),
        _field("removal_effect", pa.float32(), "see fastif.convention", "nats"),
        _field(
            "distance",
            pa.float32(),
            "distance the candidate index reports; null in a full scan",
            null=True,
        ),
    ),
)

SOLVES: Final = _schema(
    "solves",
    (
        _QUERY,
        _field("residual", pa.float32(), "|b - Ax| / |b| of the damped operator A solved with"),
        _field("converged", pa.bool_(), "the solver reached its own tolerance"),
        _field("steps", pa.uint32(), "curvature sweeps taken"),
        _field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        _field("gradient_norm", pa.float32(), "|b|, norm of the query's gradient"),
        _field("solution_norm", pa.float32(), "|x|, norm of s_test"),
        _field(
            "gradient_cosine",
            pa.float32(),
            "cosine of s_test with the query's gradient; near 1 = the solve changed only the scale",
        ),
        _field(
            "spread",
            pa.float32(),
            "relative spread over LiSSA's repeats; null for other solvers",
            null=True,
        ),
        _field("solver", pa.string(), "kind of the solver"),
    ),
)

RUNS: Final = _schema(
    "runs",
    (
        _field("run", pa.string(), "name of the run"),
        _field("study", pa.string(), "name of the study"),
        _field("fingerprint", pa.string(), "sha256 of everything the results depend on"),
        _field("created", pa.timestamp("us", tz="UTC"), "the run was opened"),
        _field("finished", pa.timestamp("us", tz="UTC"), "its last shard was there"),
        _field("train_rows", pa.uint32(), "training examples, n of the convention"),
        _field("query_rows", pa.uint32(), "queries"),
        _field("parameters", pa.uint64(), "attributed parameters"),
        _field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        _field("solver", pa.string(), "the solver's record, JSON"),
        _field("curvature", pa.string(), "the curvature's record, JSON"),
        _field("candidates", pa.string(), "the candidates' record, JSON"),
        _field("model_digest", pa.string(), "sha256 of the model"),
        _field("train_digest", pa.string(), "sha256 of the training table"),
        _field("query_digest", pa.string(), "sha256 of the query table"),
        _field("accuracy", pa.float32(), "share of queries predicted correctly"),
        _field("truncated_queries", pa.uint32(), "queries whose text was cut"),
        _field("truncated_train", pa.uint32(), "training examples whose text was cut"),
        _field("seconds", pa.float64(), "wall time of the run", "seconds"),
        _field("versions", pa.string(), "versions of the libraries that computed it, JSON"),
    ),
)

TABLES: Final = ("scores", "solves", "queries", "train", "runs")
KEYS: Final = {
    "scores": ("query", "train"),
    "solves": ("query",),
    "queries": ("query",),
    "train": ("train",),
    "runs": ("run",),
}
"""Columns that name a row of a table; no table holds the same key twice."""


def queries_schema(groups: Sequence[str]) -> pa.Schema:
    """One row a query, with one nullable column ``group_<name>`` for each of `groups`."""
    return _schema("queries", (_QUERY, *_EXAMPLE, *_groups(groups)))


def train_schema(groups: Sequence[str]) -> pa.Schema:
    """One row a training example, with one nullable column ``group_<name>`` for each group."""
    own_effect = _field(
        "self_influence",
        pa.float32(),
        "removal_effect of the example on its own loss; null if not computed",
        "nats",
        null=True,
    )
    return _schema("train", (_TRAIN, *_EXAMPLE, own_effect, *_groups(groups)))


def table_schema(table: str, groups: Sequence[str] = ()) -> pa.Schema:
    """Schema of a table by name; `groups` matter to queries and train only.

    Raises:
        KeyError: no such table.
    """
    if table == "queries":
        return queries_schema(groups)
    if table == "train":
        return train_schema(groups)
    return {"scores": SCORES, "solves": SOLVES, "runs": RUNS}[table]


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """Give the same columns as Polars types, to build a frame or an empty one."""
    empty = pl.from_arrow(schema.empty_table())
    return empty.collect_schema() if isinstance(empty, pl.DataFrame) else pl.Schema()
