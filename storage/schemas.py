"""Every table of the store: columns, types, units and the sign convention.

The convention is written into each Parquet file, so a file that was copied out of its store still
says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from storage.fields import make_field, make_group_fields, make_schema

_QUERY = make_field("query", pa.uint32(), "position in the query table")
_TRAIN = make_field("train", pa.uint32(), "position in the train table")

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
        _QUERY,
        _TRAIN,
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
        _QUERY,
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
        _TRAIN,
        make_field("correct", pa.bool_(), "of the queries: predicted correctly"),
        make_field(
            "group", pa.string(), "of the queries: first of the study's groups", nullable=True
        ),
        make_field("queries", pa.uint32(), "queries that were added up"),
        make_field("removal_effect", pa.float64(), "sum over these queries, every score", "nats"),
    ),
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

_LABEL_SCORES = (
    ("loss", "cross-fitted loss at the given label", "nats"),
    ("margin", "minus the cross-fitted log-odds of the given label", "nats"),
    ("neighbours", "share of the nearest rows with another label", ""),
    ("neighbour_loss", "minus log of the nearest rows' mean probability of the label", "nats"),
    ("in_sample_loss", "loss of a head that has seen the row", "nats"),
    ("training_margin", "minus the mean over training of the label's lead over the next", ""),
    ("self_influence", "removal_effect of the row on its own loss, by that head", "nats"),
    ("crossed_self_influence", "the same with the residual of heads that have not seen it", "nats"),
)

MISLABELS: Final = make_schema(
    "mislabels",
    (
        _TRAIN,
        make_field("rank", pa.uint32(), "0 = most suspicious; rows that were looked at come last"),
        make_field("id", pa.string(), "the study's own id of the example"),
        make_field("text", pa.string(), "first text column"),
        make_field(
            "text_pair", pa.string(), "second text column; null if there is one", nullable=True
        ),
        make_field("label", pa.string(), "given label"),
        make_field(
            "probability",
            pa.float32(),
            "that the given label is wrong; null for the only row of its class",
            nullable=True,
        ),
        make_field(
            "doubt",
            pa.float32(),
            "the same by labels and features, before what people said of this row or of drawn ones",
            nullable=True,
        ),
        make_field("suggested", pa.string(), "the other label that features make likeliest"),
        make_field(
            "confidence",
            pa.float32(),
            "their probability of it, of all that is not in the given label",
        ),
        make_field(
            "cluster",
            pa.uint32(),
            "equal for rows alike, of one label and suggestion: one decision",
        ),
        make_field("agreeing", pa.uint32(), "nearest row of the same label", nullable=True),
        make_field("conflicting", pa.uint32(), "nearest row of another label", nullable=True),
        make_field(
            "reviewed", pa.string(), "what people say the label is; null: not seen", nullable=True
        ),
        *(
            make_field(name, pa.float32(), description, unit)
            for name, description, unit in _LABEL_SCORES
        ),
        make_field(
            "trained_margin",
            pa.float32(),
            "minus the mean over the epochs of `fastif train` of the label's lead over the next; "
            "null where the model was trained elsewhere, or without the row",
            nullable=True,
        ),
        make_field(
            "word_loss",
            pa.float32(),
            "loss by words counted in other rows (naive Bayes); null unless rows are single texts",
            "nats",
            nullable=True,
        ),
        make_field(
            "letter_loss",
            pa.float32(),
            "the same by three letters in a row within words",
            "nats",
            nullable=True,
        ),
        make_field(
            "judged_loss",
            pa.float32(),
            "loss of a trained classifier that has not seen the row; null without one",
            "nats",
            nullable=True,
        ),
        make_field(
            "trusted_loss",
            pa.float32(),
            "loss by heads that have seen trusted rows; null without such rows",
            "nats",
            nullable=True,
        ),
        make_field(
            "harm",
            pa.float32(),
            "minus the sum of the row's negative removal effects on queries; null without an audit",
            "nats",
            nullable=True,
        ),
        make_field(
            "harm_same_label",
            pa.float32(),
            "the same over queries of the row's own label",
            "nats",
            nullable=True,
        ),
    ),
)

LABEL_SCORES: Final = (
    *(name for name, _, _ in _LABEL_SCORES),
    "trained_margin",
    "word_loss",
    "letter_loss",
    "judged_loss",
    "trusted_loss",
    "harm",
    "harm_same_label",
)
"""Columns of mislabels that are detectors of their own; larger is more suspicious."""

VERDICTS: Final = make_schema(
    "verdicts",
    (
        make_field("row", pa.binary(), "digest of the row's texts and the name of its given label"),
        make_field("content", pa.binary(), "digest of the row's texts alone", nullable=True),
        make_field("id", pa.string(), "the id it had when it was looked at"),
        make_field("label", pa.string(), "given label"),
        make_field(
            "right_label", pa.string(), "what it should be; null: no label fits", nullable=True
        ),
        make_field("reviewer", pa.string(), "who says so; empty if unknown"),
        make_field("probability", pa.float32(), "of a wrong label, as told before", nullable=True),
        make_field("doubt", pa.float32(), "the same by labels and features alone", nullable=True),
        make_field(
            "drawn",
            pa.bool_(),
            "whether the row was drawn at random to be looked at",
            nullable=True,
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
    return make_schema("queries", (_QUERY, *_EXAMPLE, *make_group_fields(groups)))


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
        "train", (_TRAIN, *_EXAMPLE, own_effect, trained, *make_group_fields(groups))
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
