"""The tables of the search for wrong labels: ranked rows, and what people said of them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from storage.fields import (
    TRAIN_POSITION,
    make_field,
    make_schema,
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
        TRAIN_POSITION,
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
