"""Effects by the kernel of an ensemble: how often two rows share a leaf."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.trees.training import TreeTraining


def compute_kernel_influence(
    training: TreeTraining,
    query_leaves: Int[Tensor, "t q"],
    slopes: Float[Tensor, "q o"],
    penalty: float,
) -> Float[Tensor, "q n"]:
    """Influence in the kernel regression whose kernel is the share of trees in one leaf.

    The representer form of Yeh et al. (2018) with the tree kernel of Brophy et al. (2023): one
    Newton step of a kernel model with an L2 penalty, taken at the ensemble's own scores. Outputs
    are taken as independent. It holds an n x n matrix an output.

    Args:
        training: Training of the ensemble.
        query_leaves: Leaf of each query in each tree.
        slopes: Derivative of each query's measure in its scores.
        penalty: L2 penalty of the kernel model.

    Returns:
        Effect on each query's measure if a row is removed.
    """
    count = len(training)
    own = torch.zeros(count, count, dtype=torch.double)
    cross = torch.zeros(query_leaves.shape[1], count, dtype=torch.double)
    scores = training.ensemble.base.expand(count, -1).clone()
    for place, tree in enumerate(training.ensemble.trees):
        leaf = training.leaves[place]
        own += leaf[:, None] == leaf
        cross += query_leaves[place][:, None] == leaf
        scores[:, tree.outputs] += tree.values[leaf.long()]
    trees = len(training.leaves)
    loss, weights = training.ensemble.loss, training.weights[:, None]
    gradient = weights * loss.gradient(scores, training.targets)
    curvature = weights * loss.pull_gradient(scores, torch.ones_like(scores)).abs()
    if loss.outputs > 1:
        curvature = weights * loss.curvature(scores)
    effect = torch.zeros_like(cross)
    for output in range(slopes.shape[1]):
        system = own / trees * curvature[:, output, None] + penalty * torch.eye(count).double()
        solved = torch.linalg.solve(system.T, cross.T / trees).T
        effect += slopes[:, output, None] * solved * gradient[:, output]
    return effect
