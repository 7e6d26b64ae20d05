"""Table of a mislabel detection: columns of a label posterior, and ranks of rows."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from fastif.mislabels.detector import NAIVE_BAYES_SCORES
from fastif.mislabels.identical_rows import mask_contradicted
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import (
    NO_LABEL_FITS,
    NOT_REVIEWED,
    LabeledData,
)
from storage import polars_schema
from storage.mislabel_schemas import MISLABELS
from tasks.data.inputs import Inputs
from tasks.mislabels.label_words import choose_none_word
from tasks.models.training_dynamics import read_dynamics

NO_PROBABILITY = -1.0
"""Sort key of rows without an error probability: after all rows that have one."""


def _group_decisions(data: LabeledData, suggested: Tensor) -> Tensor:
    """Cluster of each row: near-duplicates with the same label and suggestion, or contradictions.

    Identical rows with different labels are one cluster, since a single annotation decides them.
    """
    keys = torch.stack([data.group_ids, data.labels, suggested], 1)
    if data.contents is not None:
        blank = torch.full_like(data.contents, -1)
        by_content = torch.stack([data.contents, blank, blank], 1)
        keys = torch.where(mask_contradicted(data)[:, None], by_content, keys)
    return keys.unique(dim=0, return_inverse=True)[1]


def make_mislabel_frame(
    inputs: Inputs,
    data: LabeledData,
    posterior: LabelPosterior,
    order: Tensor,
    harm: pl.DataFrame | None,
) -> pl.DataFrame:
    """Return the table, in the order of the training rows.

    Args:
        inputs: Study and tables.
        data: Rows with features and given labels, in the order of the detection.
        posterior: Label posterior of these rows.
        order: Position in the training table of each of these rows.
        harm: Harm of each training row; None without an audit.
    """
    table, labels = inputs.train, inputs.study.labels
    inverse_order = order.argsort()
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    names = {NOT_REVIEWED: None, NO_LABEL_FITS: choose_none_word(labels)} | dict(enumerate(labels))
    nearest = _find_nearest(data, posterior.neighbour_ids, order)
    probability = posterior.probability.float()
    is_singleton = _mask_unjudged(inputs, data, posterior.trusted)
    columns: dict[str, Any] = {
        "train": range(len(table)),
        "rank": _rank_rows(probability.where(~is_singleton, NO_PROBABILITY), known)[
            inverse_order
        ].numpy(),
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
        "probability": _mask_to_nan(probability, is_singleton)[inverse_order].numpy(),
        "doubt": _mask_to_nan(posterior.prior_error, is_singleton)[inverse_order].numpy(),
        "suggested": [labels[i] for i in posterior.suggested[inverse_order].tolist()],
        "confidence": posterior.confidence[inverse_order].clamp(0, 1).numpy(),
        "cluster": _group_decisions(data, posterior.suggested)[inverse_order].numpy(),
        "agreeing": [nearest[0][i] for i in inverse_order.tolist()],
        "conflicting": [nearest[1][i] for i in inverse_order.tolist()],
        "reviewed": [names[i] for i in known[inverse_order].tolist()],
        "trained_margin": [
            None if margin is None else -margin for margin in read_dynamics(inputs.study, table)
        ],
        **{name: signal[inverse_order].numpy() for name, signal in posterior.label_scores.items()},
    }
    for name in (*NAIVE_BAYES_SCORES, "judged_loss", "trusted_loss"):
        columns.setdefault(name, [None] * len(table))
    columns["judged_loss"] = _blank_unpredicted(columns["judged_loss"], data, inverse_order)
    return _build_frame(columns, harm)


def _blank_unpredicted(
    losses: Sequence[float | None], data: LabeledData, inverse_order: Tensor
) -> Sequence[float | None]:
    """Losses by other classifiers, None in rows that no classifier predicts."""
    if not data.external or data.classifier_logits is not None:
        return losses
    has_any = torch.stack([each.has_prediction for each in data.external]).any(0)[inverse_order]
    return [
        None if loss is None or not has else float(loss)
        for loss, has in zip(losses, has_any.tolist(), strict=True)
    ]


def _build_frame(columns: dict[str, Any], harm: pl.DataFrame | None) -> pl.DataFrame:
    """Join the columns with the harm of each row, in the order of the schema."""
    schema = polars_schema(MISLABELS)
    frame = pl.DataFrame(columns, schema_overrides={"train": pl.UInt32, "text_pair": pl.String})
    frame = frame.with_columns(pl.col("probability", "doubt").fill_nan(None))
    if harm is None:
        frame = frame.with_columns(harm=pl.lit(None), harm_same_label=pl.lit(None))
    else:
        harm_by_row = harm.with_columns(pl.col("train").cast(pl.UInt32))
        frame = frame.join(harm_by_row, on="train", how="left", maintain_order="left").with_columns(
            pl.col("harm", "harm_same_label").fill_null(0.0)
        )
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _mask_unjudged(inputs: Inputs, data: LabeledData, is_trusted: bool) -> Tensor:
    """Mask of the only rows of a class, which no classifier but an independent one can judge."""
    # A cross-fitted classifier has seen these rows alone.
    fitted = data if inputs.study.mislabels.judge else replace(data, classifier_logits=None)
    return mask_singleton_classes(fitted, inputs.queries.labels if is_trusted else ())


def mask_singleton_classes(data: LabeledData, trusted: Sequence[int]) -> Tensor:
    """Return a mask of rows that are the only one of their class, near-duplicates aside, [n].

    Such rows have no error probability: an out-of-fold classifier has no other row of the class.

    Args:
        data: Rows with given labels and groups.
        trusted: Labels of the trusted rows.
    """
    if data.classifier_logits is not None:  # the other classifier may include the class
        return torch.zeros_like(data.labels, dtype=torch.bool)
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    train_labels = torch.where(known == NOT_REVIEWED, data.labels, known)
    pairs = torch.stack([train_labels, data.group_ids], 1)[train_labels != NO_LABEL_FITS]
    is_single = pairs.unique(dim=0)[:, 0].bincount(minlength=data.classes) == 1
    is_single[torch.tensor(trusted, dtype=torch.long)] = False
    return is_single[data.labels] & (known == NOT_REVIEWED)


def _mask_to_nan(values: Tensor, missing: Tensor) -> Tensor:
    """Set missing values to NaN, which is null in the table."""
    return values.where(~missing, math.nan)


def _rank_rows(probability: Tensor, known: Tensor) -> Tensor:
    """Rank of each row, 0 for the most suspicious; reviewed rows come last."""
    scores = torch.where(known == NOT_REVIEWED, probability, -2.0)
    ranks = torch.empty(len(scores), dtype=torch.long)
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores))
    return ranks


def _find_nearest(
    data: LabeledData, neighbour_ids: Tensor, order: Tensor
) -> tuple[list[int | None], list[int | None]]:
    """Nearest neighbour of each row with its label and with another, as table rows."""
    same = data.labels[neighbour_ids] == data.labels[:, None]
    nearest = []
    for mask in (same, ~same):
        first = mask.int().argmax(1)
        positions = order[neighbour_ids.gather(1, first[:, None])[:, 0]].tolist()
        exists = mask.any(1).tolist()
        nearest.append(
            [
                position if has_any else None
                for position, has_any in zip(positions, exists, strict=True)
            ]
        )
    for i, other in _find_contradicting(data).items():
        nearest[1][i] = int(order[other])
    return nearest[0], nearest[1]


def _find_contradicting(data: LabeledData) -> dict[int, int]:
    """First identical row with another label, by contradicted row; many may be nearer than it."""
    if data.contents is None:
        return {}
    positions = mask_contradicted(data).nonzero()[:, 0].tolist()
    contents, labels = data.contents.tolist(), data.labels.tolist()
    by_content: dict[int, dict[int, int]] = defaultdict(dict)
    for i in positions:
        by_content[contents[i]].setdefault(labels[i], i)
    return {
        i: next(other for label, other in by_content[contents[i]].items() if label != labels[i])
        for i in positions
    }
