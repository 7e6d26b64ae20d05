"""Values of training rows over all queries of a study, under boosted trees."""

from collections.abc import Sequence

import polars as pl
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.mislabels.knn_shapley import compute_knn_shapley
from fastif.trees.boosting_loss import HalfSquaredError
from fastif.trees.tree_attributor import TreeAttributor

NEIGHBOURS = 5
"""Number of neighbours of the KNN-Shapley values."""
TILE = 64
"""Number of queries whose similarities are held at once."""


def make_row_table(
    attribute: TreeAttributor,
    rows: Float[Tensor, "q f"],
    targets: Shaped[Tensor, " q"],
    ids: Sequence[str],
) -> pl.DataFrame:
    """Return the mean removal effect of each training row, and for classes its KNN-Shapley value.

    Rows are neighbours by the share of trees in which they are in the same leaf.

    Args:
        attribute: Ensemble with its training rows.
        rows: Features of the queries.
        targets: Targets of the queries.
        ids: Ids of the training rows.
    """
    training = attribute.training
    total = torch.zeros(len(training)).double()
    for effects in attribute.iterate_effects(rows, targets):
        total += effects.sum(0)
    columns = {"train": list(ids), "mean_removal_effect": (total / len(rows)).tolist()}
    if not isinstance(training.ensemble.loss, HalfSquaredError):
        leaves = training.ensemble.assign(rows)
        values = torch.zeros(len(training)).double()
        for tile in torch.arange(len(rows)).split(TILE):
            similarity = _share_leaves(leaves[:, tile], training.leaves)
            part = compute_knn_shapley(similarity, training.targets, targets[tile], NEIGHBOURS)
            values += part * len(tile) / len(rows)
        columns["knn_shapley"] = values.tolist()
    return pl.DataFrame(columns)


def _share_leaves(queries: Int[Tensor, "t q"], rows: Int[Tensor, "t n"]) -> Float[Tensor, "q n"]:
    """Return the share of trees in which a query and a row are in the same leaf."""
    shared = torch.zeros(queries.shape[1], rows.shape[1]).double()
    for own, leaf in zip(queries, rows, strict=True):
        shared += own[:, None] == leaf
    return shared / max(1, len(rows))
