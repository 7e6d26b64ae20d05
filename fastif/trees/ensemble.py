"""Ensemble of boosted trees in one form for all libraries."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.errors import InputError
from fastif.trees.boosting_loss import BoostingLoss
from fastif.trees.tree import Tree


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """Boosted trees as a library stored them, with what its training needs to be repeated.

    The rounds are in their order; the trees of one round were fitted to the same gradients.

    Attributes:
        library: Name of the library.
        loss: Loss of training.
        rounds: Trees of each round.
        base: Scores before the first tree, [outputs].
        base_is_in_first: Whether the first round's leaf values contain the start of training, as
            LightGBM stores them.
        starts_from_data: Whether training started from the constant of least loss; None if the
            file does not say.
        features: Names of the columns.
        categories: Number of each category by the position of its column.
        single_precision: Whether features are rounded to single precision before a test.
        l1: L1 penalty of leaf values.
        l2: L2 penalty of leaf values; None if the file does not say.
        joint_newton: Whether a Newton step inverts the curvature of all outputs at once.
        positive_weight: Weight of the rows of label 1.
        subsample: Share of rows that each tree was fitted to.
        class_names: Labels by number, as text; empty if the file does not say.
        notes: Sentences on the file, for its user.

    Raises:
        InputError: Trees and outputs do not fit, or there is no tree.
    """

    library: str
    loss: BoostingLoss
    rounds: tuple[tuple[Tree, ...], ...]
    base: Float[Tensor, " o"]
    base_is_in_first: bool = False
    starts_from_data: bool | None = None
    features: tuple[str, ...] = ()
    categories: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    single_precision: bool = False
    l1: float = 0.0
    l2: float | None = 0.0
    joint_newton: bool = False
    positive_weight: float = 1.0
    subsample: float = 1.0
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        outputs = self.loss.outputs
        widths = {(tree.output, tree.values.shape[1]) for tree in self.trees}
        is_known = {(None, outputs)} | {(output, 1) for output in range(outputs)}
        if not widths <= is_known or not self.rounds or len(self.base) != outputs:
            got = f"{len(self.rounds)} rounds, or leaf values of another number of outputs"
            raise InputError("model", f"trees of {outputs} outputs", got, "Save the model again.")
        if not bool(self.base.isfinite().all()):
            raise InputError("model", "a finite base score", "another", "Save the model again.")

    @property
    def trees(self) -> list[Tree]:
        """Trees of all rounds, in order."""
        return [tree for trees in self.rounds for tree in trees]

    def round_rows(self, rows: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """Return features in double precision, rounded as the library rounds them."""
        return (rows.float() if self.single_precision else rows).double()

    def assign(self, rows: Float[Tensor, "n f"]) -> Int[Tensor, "t n"]:
        """Return the leaf of each row in each tree."""
        rounded = self.round_rows(rows)
        trees = self.trees
        leaves = torch.empty(len(trees), len(rows), dtype=torch.int32)
        for place, tree in enumerate(trees):
            leaves[place] = tree.assign(rounded)
        return leaves

    def predict(self, rows: Float[Tensor, "n f"]) -> Float[Tensor, "n o"]:
        """Return the raw scores of rows, before a sigmoid or softmax."""
        rounded = self.round_rows(rows)
        scores = self.base.expand(len(rows), -1).clone()
        for tree in self.trees:
            scores[:, tree.outputs] += tree.values[tree.assign(rounded)]
        return scores
