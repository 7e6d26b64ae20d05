"""Schemas of the tables `queries` and `train`: the examples, with what the model predicts."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from storage.fields import (
    QUERY_POSITION,
    TRAIN_POSITION,
    make_field,
    make_group_fields,
    make_schema,
)

_CONTENT = (
    make_field("id", pa.string(), "the study's own id of the example"),
    make_field("text", pa.string(), "first text column"),
    make_field(
        "text_pair", pa.string(), "second text column; null if there is a single one", nullable=True
    ),
)
_EXAMPLE = (
    *_CONTENT,
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
    make_field("correct", pa.bool_(), "prediction equals label; null for numbers", nullable=True),
    make_field("truncated", pa.bool_(), "the text exceeded the maximum length and was truncated"),
)

_QUERY = (
    *_CONTENT,
    make_field(
        "label", pa.string(), "given label; null for a query without a label", nullable=True
    ),
    make_field(
        "prediction",
        pa.string(),
        "label the model predicts; null if its outputs are not finite",
        nullable=True,
    ),
    make_field(
        "loss",
        pa.float32(),
        "loss at the given label; null if not finite, or without a label",
        "nats",
        nullable=True,
    ),
    make_field(
        "probability",
        pa.float32(),
        "probability the model gives to the given label, or without a label to the predicted one; "
        "null if not finite",
        nullable=True,
    ),
    make_field(
        "correct", pa.bool_(), "prediction equals label; null without a label", nullable=True
    ),
    make_field("truncated", pa.bool_(), "the text exceeded the maximum length and was truncated"),
    make_field(
        "measure",
        pa.string(),
        "what is explained: loss (at the given label), log-probability or margin (of the predicted "
        "label), or entropy",
    ),
    make_field(
        "measure_value",
        pa.float32(),
        "value of the measure, in nats, of a margin in logits; null if not finite",
        nullable=True,
    ),
)
"""Columns of the table `queries`; `train` has those of `_EXAMPLE`, with a label in each row."""


def queries_schema(groups: Sequence[str]) -> pa.Schema:
    """Return the schema of `queries`, with a nullable column `group_<name>` for each group."""
    return make_schema("queries", (QUERY_POSITION, *_QUERY, *make_group_fields(groups)))


def train_schema(groups: Sequence[str]) -> pa.Schema:
    """Return the schema of `train`, with a nullable column `group_<name>` for each group."""
    own_effect = make_field(
        "self_influence",
        pa.float32(),
        "removal_effect of the row on its own loss; null if not computed",
        "nats",
        nullable=True,
    )
    trained = make_field(
        "trained",
        pa.bool_(),
        "the model was trained on the row with this label; null if unknown",
        nullable=True,
    )
    weight = make_field(
        "weight",
        pa.float64(),
        "weight of the row in the training loss; null if all weights are equal",
        nullable=True,
    )
    own = (own_effect, trained, weight)
    return make_schema("train", (TRAIN_POSITION, *_EXAMPLE, *own, *make_group_fields(groups)))


def fill_weight(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Add the column `weight` to queries, and to training rows of an earlier version: null.

    Args:
        rows: Table `train` or `queries`, or a part of it.

    Examples:
        >>> fill_weight(pl.LazyFrame({"train": [0]})).collect().rows()
        [(0, None)]
    """
    if "weight" in rows.collect_schema():
        return rows
    return rows.with_columns(weight=pl.lit(None, pl.Float64))


def fill_measure(queries: pl.LazyFrame) -> pl.LazyFrame:
    """Add the columns `measure` and `measure_value` to queries of an earlier version: the loss.

    Args:
        queries: Table `queries`, or a part of it.

    Examples:
        >>> filled = fill_measure(pl.LazyFrame({"query": [0], "loss": [0.5]}))
        >>> filled.select("measure", "measure_value").collect().rows()
        [('loss', 0.5)]
    """
    if "measure" in queries.collect_schema():
        return queries
    return queries.with_columns(measure=pl.lit("loss"), measure_value=pl.col("loss"))
