"""Decision tree as arrays: splits, directions of missing values and categories, and leaf values."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.errors import InputError

ZERO = 1e-35
"""Largest magnitude that LightGBM takes for zero where zero is a missing value."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Decision tree of one output, or of all outputs at once.

    A number goes left if it is at most the threshold. A child from 0 on is a node, and a child
    c < 0 is the leaf -c - 1. Without nodes the tree has one leaf.

    Attributes:
        feature: Column of each node's test, [m].
        threshold: Largest number that goes left, [m].
        left, right: Children of each node, [m].
        missing_left: Whether a missing value goes left, [m].
        zero_is_missing: Whether zero counts as missing, [m].
        category_row: Row of `goes_left` of a node of categories, [m]; -1 for a node of numbers.
        goes_left: Whether each category goes left, one row a node, [r c]; the last column is that
            of every other category.
        values: Value of each leaf, [l 1], or [l outputs] for a tree of all outputs.
        output: Output that the tree adds to; None for all.
        rate: Learning rate by which leaf values are multiplied; 0 for a tree that was not fitted.
        extra_l2: L2 penalty that a leaf may have in addition to that of the ensemble, [l].

    Raises:
        InputError: Nodes and leaves are no tree.
    """

    feature: Int[Tensor, " m"]
    threshold: Float[Tensor, " m"]
    left: Int[Tensor, " m"]
    right: Int[Tensor, " m"]
    missing_left: Bool[Tensor, " m"]
    zero_is_missing: Bool[Tensor, " m"]
    category_row: Int[Tensor, " m"]
    goes_left: Bool[Tensor, "r c"]
    values: Float[Tensor, "l o"]
    output: int | None
    rate: float
    extra_l2: Float[Tensor, " l"]

    def __post_init__(self) -> None:
        children = torch.cat([self.left, self.right])
        inner = children[children >= 0]
        nodes = len(self.feature)
        # Each node but the root is the child of one: then no path comes back to a node.
        is_tree = len(inner.unique()) == len(inner) and bool((inner > 0).all())
        is_inside = bool(((children < nodes) & (children >= -len(self.values))).all())
        lengths = {len(part) for part in (self.threshold, self.left, self.right, self.missing_left)}
        if not is_tree or not is_inside or lengths - {nodes} or not len(self.values):
            raise InputError("model", "trees", "nodes that are no tree", "Save the model again.")
        if bool((self.feature < 0).any()) or not bool(self.values.isfinite().all()):
            raise InputError("model", "columns and leaf values", "others", "Save the model again.")

    @property
    def outputs(self) -> slice:
        """Columns of the scores that the tree adds to."""
        return slice(None) if self.output is None else slice(self.output, self.output + 1)

    def assign(self, rows: Float[Tensor, "n f"]) -> Int[Tensor, " n"]:
        """Return the leaf of each row.

        Args:
            rows: Features, NaN where a value is missing; categories are their numbers.

        Raises:
            InputError: The rows have too few columns.
        """
        place = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
        if not len(self.feature):
            return place
        width = int(self.feature.max()) + 1
        if width > rows.shape[1]:
            remedy = "Give the columns of training in their order."
            raise InputError("features", f"{width} columns or more", f"{rows.shape[1]}", remedy)
        active = torch.arange(len(rows), device=rows.device)
        while len(active):
            node = place[active]
            value = rows[active, self.feature[node]]
            place[active] = torch.where(
                self._test(node, value), self.left[node], self.right[node]
            ).to(place.dtype)
            active = active[place[active] >= 0]
        return -place - 1

    def _test(self, node: Int[Tensor, " n"], value: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Return whether each value goes left at its node."""
        is_left = value <= self.threshold[node]
        is_missing = value.isnan() | (self.zero_is_missing[node] & (value.abs() <= ZERO))
        row = self.category_row[node]
        if len(self.goes_left):
            other = self.goes_left.shape[1] - 1
            number = value.nan_to_num(-1.0, -1.0, -1.0).clamp(-1, 2.0**40).trunc().long()
            known = (number >= 0) & (number < other) & (value > -1)
            column = torch.where(known, number, torch.full_like(number, other))
            is_left = torch.where(row >= 0, self.goes_left[row.clamp_min(0), column], is_left)
        return torch.where(is_missing, self.missing_left[node], is_left)
