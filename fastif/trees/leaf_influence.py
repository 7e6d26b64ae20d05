"""LeafInfluence: first-order effects of training rows with refitted leaf values."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.trees.leaf_step import divide, sum_by_leaf
from fastif.trees.training import TreeRound, TreeTraining, sum_leaf
from fastif.trees.tree import Tree


def compute_leaf_influence(
    training: TreeTraining, query_leaves: Int[Tensor, "t q"], slopes: Float[Tensor, "q o"]
) -> Float[Tensor, "q n"]:
    """LeafInfluence: the derivative of queries in the rows' weights (Sharchilev et al., 2018).

    The structure of the trees stays. A row's weight changes the leaf values of its leaves, these
    the gradients of all rows in later rounds, and these all later leaf values. One pass through the
    rounds in reverse has all of it, so its cost is that of q trainings, where the forward form of
    the paper has that of n. The start of training is part of it if it comes from the rows.

    Args:
        training: Training of the ensemble.
        query_leaves: Leaf of each query in each tree.
        slopes: Derivative of each query's measure in its scores.

    Returns:
        First-order change of each query's measure if a row is removed.
    """
    count, queries = len(training), len(slopes)
    adjoint = slopes.new_zeros(count, queries, slopes.shape[1])
    effect = slopes.new_zeros(count, queries)
    weights = training.weights[:, None, None]
    for step in training.iterate_reversed():
        pulls = torch.zeros_like(adjoint), torch.zeros_like(adjoint)
        for place, tree in enumerate(step.trees):
            at_leaves = sum_by_leaf(
                adjoint[..., tree.outputs], step.leaves[place], len(tree.values)
            )
            own = query_leaves[step.number + place].long()
            at_leaves.index_put_(
                (own, torch.arange(queries)), slopes[:, tree.outputs], accumulate=True
            )
            effect += _pull_leaves(training, step, place, at_leaves, pulls)
        adjoint -= weights * _pull_scores(training, step, pulls)
    effect *= training.weights[:, None]
    if training.starts_from_data:
        weights = training.weights * training.start_factor
        start = training.ensemble.loss.pull_start(training.targets, weights)
        effect -= weights[:, None] * (start @ (adjoint.sum(0) + slopes).T)
    return effect.T


def _pull_leaves(
    training: TreeTraining,
    step: TreeRound,
    place: int,
    at_leaves: Float[Tensor, "l q o"],
    pulls: tuple[Float[Tensor, "n q c"], Float[Tensor, "n q c"]],
) -> Float[Tensor, "n q"]:
    """Return a tree's direct part of the effects, and add to what its rows' scores receive."""
    tree, leaf = step.trees[place], step.leaves[place]
    if not tree.rate:
        return at_leaves.new_zeros(len(leaf), at_leaves.shape[1])
    slope, curved = solve_leaves(training, step, place, at_leaves)
    values = tree.values / tree.rate
    gradient = training.ensemble.loss.gradient(step.scores, training.targets)[:, tree.outputs]
    bent = gradient + multiply_curvature(training, step, tree, values[leaf])
    pulls[0][..., tree.outputs] += slope[leaf]
    pulls[1][..., tree.outputs] += curved[leaf]
    return (slope[leaf] * bent[:, None]).sum(-1)


def solve_leaves(
    training: TreeTraining, step: TreeRound, place: int, at_leaves: Float[Tensor, "l q o"]
) -> tuple[Float[Tensor, "l q o"], Float[Tensor, "l q o"]]:
    """Return v = η (H + λ)⁻¹ a of each leaf, and v θ, which multiplies derivatives of H.

    For a joint step the second is θ itself, see `_pull_scores`.
    """
    tree = step.trees[place]
    total, curvature = sum_leaf(training, step, place)
    slope = tree.rate * divide(at_leaves, curvature[:, None], step.l2[place])
    slope = slope * (total.abs() > training.ensemble.l1)[:, None]
    values = tree.values / tree.rate
    if training.ensemble.joint_newton:
        return slope, values[:, None].expand_as(slope)
    return slope, slope * values[:, None]


def multiply_curvature(
    training: TreeTraining, step: TreeRound, tree: Tree, values: Float[Tensor, "n o"]
) -> Float[Tensor, "n o"]:
    """Return each row's curvature times its leaf's step."""
    curvature = training.get_curvature(step.scores, tree)
    if curvature.dim() == 2:
        return curvature * values
    return (curvature @ values[..., None])[..., 0]


def _pull_scores(
    training: TreeTraining,
    step: TreeRound,
    pulls: tuple[Float[Tensor, "n q o"], Float[Tensor, "n q o"]],
) -> Float[Tensor, "n q o"]:
    """Return the derivative of v·(g + H θ) in the scores of each row.

    A joint step has H = diag(π) - ππᵀ, of which the derivative of vᵀ H θ is in closed form.
    """
    loss, scores = training.ensemble.loss, step.scores[:, None]
    slope, curved = pulls
    first = loss.pull_gradient(scores, slope)
    if not training.ensemble.joint_newton:
        return first + loss.pull_curvature(scores, curved)
    rate, values = scores.softmax(-1), curved
    mean_slope = (rate * slope).sum(-1, keepdim=True)
    mean_value = (rate * values).sum(-1, keepdim=True)
    mixed = loss.pull_gradient(scores, slope * values)
    mixed = mixed - mean_value * rate * (slope - mean_slope)
    return first + mixed - mean_slope * rate * (values - mean_value)
