"""Every table of the store: columns, types, units and the sign convention.

The convention is written into each Parquet file, so a file that was copied out of its store still
says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from storage.fields import field, groups_of, schema

_QUERY = field("query", pa.uint32(), "position in the query table")
_TRAIN = field("train", pa.uint32(), "position in the train table")

_EXAMPLE = (
    field("id", pa.string(), "the study's own id of the example"),
    field("text", pa.string(), "first text column"),
    field("text_pair", pa.string(), "second text column; null if the study has one", null=True),
    field("label", pa.string(), "given label"),
    field(
        "prediction",
        pa.string(),
        "label the model predicts; null if its outputs are not finite",
        null=True,
    ),
    field("loss", pa.float32(), "loss at the given label; null if not finite", "nats", null=True),
    field(
        "probability",
        pa.float32(),
        "probability the model gives to the given label; null if not finite",
        null=True,
    ),
    field("correct", pa.bool_(), "prediction equals label"),
    field("truncated", pa.bool_(), "the text was longer than the model reads and was cut"),
)

SCORES: Final = schema(
    "scores",
    (
        _QUERY,
        _TRAIN,
        field("rank", pa.uint32(), "0 = most harmful of its query; ascending removal_effect"),
        field("removal_effect", pa.float32(), "see fastif.convention", "nats"),
        field(
            "distance",
            pa.float32(),
            "distance the candidate index reports; null in a full scan",
            null=True,
        ),
        field(
            "spread",
            pa.float32(),
            "standard deviation of removal_effect over the study's models; null for one model",
            "nats",
            null=True,
        ),
    ),
)

SOLVES: Final = schema(
    "solves",
    (
        _QUERY,
        field(
            "reason",
            pa.string(),
            "why the query was quarantined, with no scores; null if all is well",
            null=True,
        ),
        field(
            "residual",
            pa.float32(),
            "|b - Ax| / |b| of the damped operator A solved with; null if there is no solution",
            null=True,
        ),
        field(
            "full_residual",
            pa.float32(),
            "the same with the curvature of all training rows; null if not measured",
            null=True,
        ),
        field("converged", pa.bool_(), "the solver reached its own tolerance"),
        field("steps", pa.uint32(), "curvature sweeps taken"),
        field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        field(
            "gradient_norm",
            pa.float32(),
            "|b|, norm of the query's gradient; null if not finite",
            null=True,
        ),
        field(
            "solution_norm",
            pa.float32(),
            "|x|, norm of s_test; null if there is no solution",
            null=True,
        ),
        field(
            "gradient_cosine",
            pa.float32(),
            "cosine of s_test with the query's gradient; near 1 = the solve changed only the scale",
            null=True,
        ),
        field(
            "score_correlation",
            pa.float32(),
            "correlation of the scores with the plain gradient product, over a fixed sample of "
            "training rows; null if one of them is constant",
            null=True,
        ),
        field(
            "resembles_gradient_product",
            pa.bool_(),
            "that correlation is beyond 0.99: the curvature might as well not be there",
        ),
        field(
            "spread",
            pa.float32(),
            "relative spread over LiSSA's repeats; null for other solvers",
            null=True,
        ),
        field("dropped", pa.uint32(), "training rows without a score, their gradient not finite"),
        field("models", pa.uint32(), "models averaged; evidence is the worst of theirs"),
        field(
            "agreement",
            pa.float32(),
            "mean rank correlation of the models' scores over that sample; null for one model",
            null=True,
        ),
        field(
            "held",
            pa.float32(),
            "share of the total size of effects that the candidates hold, by an estimate from that "
            "sample; null in a full scan",
            null=True,
        ),
        field(
            "rounding",
            pa.float32(),
            "rank correlation of scores in low precision or of low rank with those in full over "
            "that sample; null where they are in full",
            null=True,
        ),
        field(
            "least_eigenvalue",
            pa.float64(),
            "lower bound of the least eigenvalue of (H + lambda I), lambda where H is a "
            "Gauss-Newton matrix; 0 or less: its sign was not found; null if not known",
            null=True,
        ),
        field(
            "route",
            pa.string(),
            "how gradients of examples were taken: hooks, or one by one and why; null where none "
            "were",
            null=True,
        ),
        field(
            "leverage",
            pa.string(),
            '"on": a removal_effect is that of one Newton step once the row and its curvature are '
            'gone; "off: " and why it is to first order; null if not known',
            null=True,
        ),
        field("solver", pa.string(), "kind of the solver"),
        field(
            "origin",
            pa.string(),
            "earlier run that computed the answer, with its curvature; null for this run",
            null=True,
        ),
    ),
)

TOTALS: Final = schema(
    "totals",
    (
        _TRAIN,
        field("correct", pa.bool_(), "of the queries: predicted correctly"),
        field("group", pa.string(), "of the queries: first of the study's groups", null=True),
        field("queries", pa.uint32(), "queries that were added up"),
        field("removal_effect", pa.float64(), "sum over these queries, every score", "nats"),
    ),
)

RUNS: Final = schema(
    "runs",
    (
        field("run", pa.string(), "name of the run"),
        field("study", pa.string(), "name of the study"),
        field("fingerprint", pa.string(), "sha256 of everything the results depend on"),
        field("created", pa.timestamp("us", tz="UTC"), "the run was opened"),
        field("finished", pa.timestamp("us", tz="UTC"), "its last shard was there"),
        field("train_rows", pa.uint32(), "training examples, n of the convention"),
        field("query_rows", pa.uint32(), "queries"),
        field("parameters", pa.uint64(), "attributed parameters"),
        field("damping", pa.float64(), "effective lambda of (H + lambda I)"),
        field("solver", pa.string(), "the solver's record, JSON"),
        field("curvature", pa.string(), "the curvature's record, JSON"),
        field("candidates", pa.string(), "the candidates' record, JSON"),
        field("model_digest", pa.string(), "sha256 of the model"),
        field("train_digest", pa.string(), "sha256 of the training table"),
        field("query_digest", pa.string(), "sha256 of the query table"),
        field("accuracy", pa.float32(), "share of queries predicted correctly"),
        field("quarantined_queries", pa.uint32(), "queries without scores, see table solves"),
        field("truncated_queries", pa.uint32(), "queries whose text was cut"),
        field("truncated_train", pa.uint32(), "training examples whose text was cut"),
        field("seconds", pa.float64(), "wall time of the run", "seconds"),
        field("versions", pa.string(), "versions of the libraries that computed it, JSON"),
        field(
            "recall",
            pa.string(),
            "what the candidates hold of a full scan of some queries, JSON; null in a full scan",
            null=True,
        ),
        field(
            "forecast",
            pa.string(),
            "seconds of each stage, bytes of memory and of disk, each [forecast, measured], JSON; "
            "null if nothing was forecast",
            null=True,
        ),
        field(
            "training",
            pa.string(),
            "how the record beside the model differs from the study, JSON; null without a record",
            null=True,
        ),
    ),
)

_SIGNALS = (
    ("loss", "cross-fitted loss at the given label", "nats"),
    ("margin", "minus the cross-fitted log-odds of the given label", "nats"),
    ("neighbours", "share of the nearest rows with another label", ""),
    ("neighbour_loss", "minus log of the nearest rows' mean probability of the label", "nats"),
    ("in_sample_loss", "loss of a head that has seen the row", "nats"),
    ("training_margin", "minus the mean over training of the label's lead over the next", ""),
    ("self_influence", "removal_effect of the row on its own loss, by that head", "nats"),
    ("crossed_self_influence", "the same with the residual of heads that have not seen it", "nats"),
)

MISLABELS: Final = schema(
    "mislabels",
    (
        _TRAIN,
        field("rank", pa.uint32(), "0 = most suspicious; rows that were looked at come last"),
        field("id", pa.string(), "the study's own id of the example"),
        field("text", pa.string(), "first text column"),
        field("text_pair", pa.string(), "second text column; null if there is one", null=True),
        field("label", pa.string(), "given label"),
        field(
            "probability",
            pa.float32(),
            "that the given label is wrong; null for the only row of its class",
            null=True,
        ),
        field(
            "doubt",
            pa.float32(),
            "the same by labels and features, before what people said of this row or of drawn ones",
            null=True,
        ),
        field("suggested", pa.string(), "the other label that features make likeliest"),
        field(
            "confidence",
            pa.float32(),
            "their probability of it, of all that is not in the given label",
        ),
        field(
            "cluster",
            pa.uint32(),
            "equal for rows alike, of one label and suggestion: one decision",
        ),
        field("agreeing", pa.uint32(), "nearest row of the same label", null=True),
        field("conflicting", pa.uint32(), "nearest row of another label", null=True),
        field("reviewed", pa.string(), "what people say the label is; null: not seen", null=True),
        *(field(name, pa.float32(), says, unit) for name, says, unit in _SIGNALS),
        field(
            "trained_margin",
            pa.float32(),
            "minus the mean over the epochs of `fastif train` of the label's lead over the next; "
            "null where the model was trained elsewhere, or without the row",
            null=True,
        ),
        field(
            "word_loss",
            pa.float32(),
            "loss by words counted in other rows (naive Bayes); null unless rows are single texts",
            "nats",
            null=True,
        ),
        field(
            "letter_loss",
            pa.float32(),
            "the same by three letters in a row within words",
            "nats",
            null=True,
        ),
        field(
            "judged_loss",
            pa.float32(),
            "loss of a trained classifier that has not seen the row; null without one",
            "nats",
            null=True,
        ),
        field(
            "trusted_loss",
            pa.float32(),
            "loss by heads that have seen trusted rows; null without such rows",
            "nats",
            null=True,
        ),
        field(
            "harm",
            pa.float32(),
            "minus the sum of the row's negative removal effects on queries; null without an audit",
            "nats",
            null=True,
        ),
        field(
            "harm_same_label",
            pa.float32(),
            "the same over queries of the row's own label",
            "nats",
            null=True,
        ),
    ),
)

SIGNALS: Final = (
    *(name for name, _, _ in _SIGNALS),
    "trained_margin",
    "word_loss",
    "letter_loss",
    "judged_loss",
    "trusted_loss",
    "harm",
    "harm_same_label",
)
"""Columns of mislabels that are detectors of their own; larger is more suspicious."""

VERDICTS: Final = schema(
    "verdicts",
    (
        field("row", pa.binary(), "digest of the row's texts and the name of its given label"),
        field("content", pa.binary(), "digest of the row's texts alone", null=True),
        field("id", pa.string(), "the id it had when it was looked at"),
        field("label", pa.string(), "given label"),
        field("right_label", pa.string(), "what it should be; null: no label fits", null=True),
        field("reviewer", pa.string(), "who says so; empty if unknown"),
        field("probability", pa.float32(), "of a wrong label, as told before", null=True),
        field("doubt", pa.float32(), "the same by labels and features alone", null=True),
        field(
            "drawn", pa.bool_(), "whether the row was drawn at random to be looked at", null=True
        ),
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
    return schema("queries", (_QUERY, *_EXAMPLE, *groups_of(groups)))


def train_schema(groups: Sequence[str]) -> pa.Schema:
    """One row a training example, with one nullable column ``group_<name>`` for each group."""
    own_effect = field(
        "self_influence",
        pa.float32(),
        "removal_effect of the example on its own loss; null if not computed",
        "nats",
        null=True,
    )
    trained = field(
        "trained",
        pa.bool_(),
        "the model was fitted to the row with its label; null where that is not known",
        null=True,
    )
    return schema("train", (_TRAIN, *_EXAMPLE, own_effect, trained, *groups_of(groups)))


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
