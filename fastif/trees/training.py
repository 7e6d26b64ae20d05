"""Training of an ensemble, repeated from its rows with the structure of its trees."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.trees.boosting_loss import Scores
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.leaf_step import compute_steps, sum_by_leaf
from fastif.trees.tree import Tree


@dataclass(frozen=True, eq=False)
class TreeRound:
    """One round of boosting: its trees with the rows' leaves, and the scores it started from.

    Attributes:
        trees: Trees of the round.
        leaves: Leaf of each training row in each tree, [t n].
        l2: L2 penalty of each leaf, by tree.
        scores: Scores of the training rows before the round, [n o].
        number: Position of the round's first tree among all trees.
    """

    trees: tuple[Tree, ...]
    leaves: Int[Tensor, "t n"]
    l2: tuple[Float[Tensor, " l"], ...]
    scores: Scores
    number: int


@dataclass(frozen=True, eq=False)
class TreeTraining:
    """Training rows of an ensemble, with which the fit of its leaf values can be repeated.

    Make it with `trace_training`, which compares repeated with stored leaf values.

    Attributes:
        ensemble: Ensemble, whose base holds the start of training.
        leaves: Leaf of each row in each tree, [t n].
        targets: Labels or numbers of the rows, [n].
        weights: Weights of the rows in the sums of the library, [n].
        l2: L2 penalty of each leaf, by tree.
        start_factor: Factor by which a row's weight counts in the start of training, [n].
        starts_from_data: Whether the base is the constant of least loss on the rows.
        deviation: Largest difference of a repeated leaf value, relative to the largest value.
        notes: Sentences on the training, for its user.
    """

    ensemble: TreeEnsemble
    leaves: Int[Tensor, "t n"]
    targets: Shaped[Tensor, " n"]
    weights: Float[Tensor, " n"]
    l2: tuple[Float[Tensor, " l"], ...]
    start_factor: Float[Tensor, " n"]
    starts_from_data: bool
    deviation: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def get_start(self, weights: Float[Tensor, "b n"]) -> Float[Tensor, "b o"]:
        """Return the scores before the first tree, for each weighting of the rows."""
        if self.starts_from_data:
            return self.ensemble.loss.start(self.targets, weights * self.start_factor)
        return self.ensemble.base.expand(len(weights), -1)

    def iterate_rounds(self) -> Iterator[TreeRound]:
        """Yield the rounds of the training, the first one first."""
        scores = self.ensemble.base.expand(len(self), -1).clone()
        for number, trees in self._number_rounds():
            yield self._make_round(trees, number, scores.clone())
            self._add(scores, trees, number, 1.0)

    def iterate_reversed(self) -> Iterator[TreeRound]:
        """Yield the rounds of the training, the last one first."""
        numbered = list(self._number_rounds())
        scores = self.ensemble.base.expand(len(self), -1).clone()
        for number, trees in numbered:
            self._add(scores, trees, number, 1.0)
        for number, trees in reversed(numbered):
            self._add(scores, trees, number, -1.0)
            yield self._make_round(trees, number, scores)

    def _number_rounds(self) -> Iterator[tuple[int, tuple[Tree, ...]]]:
        number = 0
        for trees in self.ensemble.rounds:
            yield number, trees
            number += len(trees)

    def _add(self, scores: Scores, trees: tuple[Tree, ...], number: int, factor: float) -> None:
        for tree, leaf in zip(trees, self.leaves[number:], strict=False):
            scores[:, tree.outputs] += factor * tree.values[leaf.long()]

    def _make_round(self, trees: tuple[Tree, ...], number: int, scores: Scores) -> TreeRound:
        span = slice(number, number + len(trees))
        return TreeRound(trees, self.leaves[span].long(), self.l2[span], scores, number)

    def get_curvature(self, scores: Scores, tree: Tree) -> Float[Tensor, "n *b c"]:
        """Return the rows' curvature in a tree's outputs; a matrix a row for a joint step."""
        if self.ensemble.joint_newton:
            rate = scores.softmax(-1)
            return torch.diag_embed(rate) - rate[..., :, None] * rate[..., None, :]
        return self.ensemble.loss.curvature(scores)[..., tree.outputs]


def refit_leaves(
    training: TreeTraining, weights: Float[Tensor, "b n"], query_leaves: Int[Tensor, "t q"]
) -> Float[Tensor, "b q o"]:
    """LeafRefit: scores of queries after all leaf values are fitted again to weighted rows.

    The structure of the trees stays; everything else of the training is repeated (Sharchilev et
    al., 2018).

    Args:
        training: Training of the ensemble.
        weights: Weights of the training rows, one row a refit; those of `training.weights` give
            the ensemble itself.
        query_leaves: Leaf of each query in each tree.
    """
    loss, targets = training.ensemble.loss, training.targets
    start = training.get_start(weights)
    scores = start[None].repeat(len(training), 1, 1)  # [n b o]
    queries = start[None].repeat(query_leaves.shape[1], 1, 1)
    factor = weights.T[:, :, None]
    number = 0
    for trees in training.ensemble.rounds:
        flat = scores.flatten(0, 1)
        repeated = targets.repeat_interleave(len(weights))
        gradient = loss.gradient(flat, repeated).view_as(scores) * factor
        before = scores.clone()
        for place, tree in enumerate(trees, number):
            leaf = training.leaves[place].long()
            curvature = training.get_curvature(before, tree)
            curvature = curvature * (factor if curvature.dim() == 3 else factor[..., None])
            steps = tree.rate * compute_steps(
                tree,
                leaf,
                gradient[..., tree.outputs],
                curvature,
                training.ensemble.l1,
                training.l2[place],
            )
            scores[..., tree.outputs] += steps[leaf]
            queries[..., tree.outputs] += steps[query_leaves[place].long()]
        number += len(trees)
    return queries.transpose(0, 1)


def replace_trees(ensemble: TreeEnsemble, trees: list[Tree]) -> TreeEnsemble:
    """Return an ensemble with other trees in the same rounds."""
    left = iter(trees)
    rounds = tuple(tuple(next(left) for _ in group) for group in ensemble.rounds)
    return replace(ensemble, rounds=rounds)


def sum_leaf(
    training: TreeTraining, step: TreeRound, place: int
) -> tuple[Float[Tensor, "l o"], Float[Tensor, "l *o o"]]:
    """Return the weighted sums of gradients and of curvatures of one tree's leaves."""
    tree, leaf = step.trees[place], step.leaves[place]
    gradient = training.ensemble.loss.gradient(step.scores, training.targets)[:, tree.outputs]
    curvature = training.get_curvature(step.scores, tree)
    weights = training.weights.view(-1, *[1] * (curvature.dim() - 1))
    leaves = len(tree.values)
    total = sum_by_leaf(gradient * training.weights[:, None], leaf, leaves)
    return total, sum_by_leaf(curvature * weights, leaf, leaves)
