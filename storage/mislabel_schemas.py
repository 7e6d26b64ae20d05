"""Schemas of the label-error tables: `mislabels` (ranked rows) and `verdicts` (annotations)."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from storage.fields import (
    TRAIN_POSITION,
    make_field,
    make_schema,
)

_LABEL_SCORES = (
    ("loss", "out-of-fold loss at the given label", "nats"),
    ("margin", "minus the out-of-fold log-odds of the given label", "nats"),
    ("neighbours", "share of the nearest neighbours with another label, 0 to 1", ""),
    (
        "neighbour_loss",
        "minus log of the nearest neighbours' mean probability of the label",
        "nats",
    ),
    ("in_sample_loss", "in-sample loss: the head was fitted with the row", "nats"),
    ("training_margin", "minus the mean logit margin over training (area under the margin)", ""),
    ("self_influence", "removal_effect of the row on its own loss, in-sample head", "nats"),
    ("crossed_self_influence", "self_influence with the out-of-fold residual of the row", "nats"),
)


MISLABELS: Final = make_schema(
    "mislabels",
    (
        TRAIN_POSITION,
        make_field("rank", pa.uint32(), "0 = most suspicious; reviewed rows come last"),
        make_field("id", pa.string(), "the study's own id of the example"),
        make_field("text", pa.string(), "first text column"),
        make_field(
            "text_pair",
            pa.string(),
            "second text column; null if there is a single one",
            nullable=True,
        ),
        make_field("label", pa.string(), "given label"),
        make_field(
            "probability",
            pa.float32(),
            "probability that the given label is wrong; null for the only row of a class",
            nullable=True,
        ),
        make_field(
            "doubt",
            pa.float32(),
            "probability before annotations and audit samples; null for the only row of a class",
            nullable=True,
        ),
        make_field("suggested", pa.string(), "most probable label other than the given one"),
        make_field(
            "confidence",
            pa.float32(),
            "probability of suggested, given that the label is wrong",
        ),
        make_field(
            "cluster",
            pa.uint32(),
            "number of a group of similar rows with equal label and suggestion, or of identical "
            "rows with different labels; reviewed together",
        ),
        make_field(
            "agreeing",
            pa.uint32(),
            "position of the nearest row with the same label",
            nullable=True,
        ),
        make_field(
            "conflicting",
            pa.uint32(),
            "position of an identical row with another label, else of the nearest one with another",
            nullable=True,
        ),
        make_field(
            "reviewed",
            pa.string(),
            "label given by the reviewers; null if not reviewed",
            nullable=True,
        ),
        *(
            make_field(name, pa.float32(), description, unit)
            for name, description, unit in _LABEL_SCORES
        ),
        make_field(
            "trained_margin",
            pa.float32(),
            "minus the mean logit margin over the epochs of `fastif train` (AUM); "
            "null if the model was trained elsewhere, or without the row",
            nullable=True,
        ),
        make_field(
            "word_loss",
            pa.float32(),
            "out-of-fold loss of multinomial naive Bayes on word n-grams; null for text pairs and "
            "tables without texts",
            "nats",
            nullable=True,
        ),
        make_field(
            "letter_loss",
            pa.float32(),
            "out-of-fold loss of multinomial naive Bayes on character trigrams; null for text "
            "pairs and tables without texts",
            "nats",
            nullable=True,
        ),
        make_field(
            "judged_loss",
            pa.float32(),
            "loss by other classifiers alone (`folds`, `judge`, `judges`); null without one",
            "nats",
            nullable=True,
        ),
        make_field(
            "trusted_loss",
            pa.float32(),
            "loss of heads fitted on trusted rows; null without such rows",
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
            "harm over the queries with the row's own label; null without an audit",
            "nats",
            nullable=True,
        ),
    ),
)
"""Schema of the table `mislabels`: one row a training row, ranked by the probability of a wrong
label."""


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
"""Columns of `mislabels` that are separate label-error detectors; larger is more suspicious."""


VERDICTS: Final = make_schema(
    "verdicts",
    (
        make_field("row", pa.binary(), "digest of the row's texts and the name of its given label"),
        make_field("content", pa.binary(), "digest of the row's texts alone", nullable=True),
        make_field("id", pa.string(), "id of the row at the time of the review"),
        make_field("label", pa.string(), "given label"),
        make_field(
            "right_label", pa.string(), "correct label; null if no label fits", nullable=True
        ),
        make_field("reviewer", pa.string(), "name of the reviewer; empty if unknown"),
        make_field(
            "probability",
            pa.float32(),
            "probability of a wrong label at the time of the review",
            nullable=True,
        ),
        make_field(
            "doubt",
            pa.float32(),
            "doubt (see table mislabels) at the time of the review",
            nullable=True,
        ),
        make_field(
            "drawn",
            pa.bool_(),
            "whether the row belonged to a random audit sample",
            nullable=True,
        ),
        make_field(
            "copied",
            pa.bool_(),
            "whether the annotation was given to a near duplicate; null for earlier versions",
            nullable=True,
        ),
    ),
)
"""Schema of the table `verdicts`: one row an annotation of a reviewer."""
