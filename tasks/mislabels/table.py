"""The table of a search for wrong labels: columns from a posterior, ranks of rows."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import torch
from torch import Tensor

from fastif.mislabels.detector import NAIVE_BAYES_SCORES
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
"""In place of a probability: after all rows that have one."""


def _group_decisions(data: LabeledData, suggested: Tensor) -> Tensor:
    """Equal for rows that are alike, with the same label and the same suggestion."""
    keys = torch.stack([data.group_ids, data.labels, suggested], 1)
    return keys.unique(dim=0, return_inverse=True)[1]


def make_mislabel_frame(
    inputs: Inputs,
    data: LabeledData,
    posterior: LabelPosterior,
    order: Tensor,
    harm: pl.DataFrame | None,
) -> pl.DataFrame:
    """The table, in the order of the training rows."""
    table, labels = inputs.train, inputs.study.labels
    inverse_order = order.argsort()
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    names = {NOT_REVIEWED: None, NO_LABEL_FITS: choose_none_word(labels)} | dict(enumerate(labels))
    nearest = _find_nearest(data, posterior.neighbour_ids, order)
    probability = posterior.probability.float()
    is_singleton = mask_singleton_classes(data, inputs.queries.labels if posterior.trusted else ())
    columns: dict[str, Any] = {
        "train": range(len(table)),
        "rank": _rank_rows(probability.where(~is_singleton, NO_PROBABILITY), known)[
            inverse_order
        ].tolist(),
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
        "probability": _mask_to_nan(probability, is_singleton)[inverse_order].tolist(),
        "doubt": _mask_to_nan(posterior.prior_error, is_singleton)[inverse_order].tolist(),
        "suggested": [labels[i] for i in posterior.suggested[inverse_order].tolist()],
        "confidence": posterior.confidence[inverse_order].clamp(0, 1).tolist(),
        "cluster": _group_decisions(data, posterior.suggested)[inverse_order].tolist(),
        "agreeing": [nearest[0][i] for i in inverse_order.tolist()],
        "conflicting": [nearest[1][i] for i in inverse_order.tolist()],
        "reviewed": [names[i] for i in known[inverse_order].tolist()],
        "trained_margin": [
            None if margin is None else -margin for margin in read_dynamics(inputs.study, table)
        ],
        **{name: signal[inverse_order].tolist() for name, signal in posterior.label_scores.items()},
    }
    for name in (*NAIVE_BAYES_SCORES, "judged_loss", "trusted_loss"):
        columns.setdefault(name, [None] * len(table))
    return _build_frame(columns, harm)


def _build_frame(columns: dict[str, Any], harm: pl.DataFrame | None) -> pl.DataFrame:
    """The columns with the harm of each row beside them, as the schema has them."""
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


def mask_singleton_classes(data: LabeledData, trusted: Sequence[int]) -> Tensor:
    """Which rows are the only one of their class, with rows like them: nobody can judge these.

    Whoever judges a row has not seen it, nor what is like it, and so has seen none of the class.

    Args:
        data: to be judged.
        trusted: labels of the rows of certain label.
    """
    if data.classifier_logits is not None:  # by a classifier that knows the class from elsewhere
        return torch.zeros_like(data.labels, dtype=torch.bool)
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    train_labels = torch.where(known == NOT_REVIEWED, data.labels, known)
    pairs = torch.stack([train_labels, data.group_ids], 1)[train_labels != NO_LABEL_FITS]
    is_single = pairs.unique(dim=0)[:, 0].bincount(minlength=data.classes) == 1
    is_single[torch.tensor(trusted, dtype=torch.long)] = False
    return is_single[data.labels] & (known == NOT_REVIEWED)


def _mask_to_nan(values: Tensor, missing: Tensor) -> Tensor:
    """With NaN for what is missing, which is null in the table."""
    return values.where(~missing, math.nan)


def _rank_rows(probability: Tensor, known: Tensor) -> Tensor:
    """0 for the most suspicious; rows that were looked at last, rows that are alike in order."""
    scores = torch.where(known == NOT_REVIEWED, probability, -2.0)
    ranks = torch.empty(len(scores), dtype=torch.long)
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores))
    return ranks


def _find_nearest(
    data: LabeledData, neighbour_ids: Tensor, order: Tensor
) -> tuple[list[int | None], list[int | None]]:
    """Of each row the nearest with its label, and the nearest with another, as table positions."""
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
    return nearest[0], nearest[1]
