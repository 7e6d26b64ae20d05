"""BoostIn: effects of training rows traced through the rounds of boosting."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.losses.measure import Measure
from fastif.trees.boosting_loss import differentiate
from fastif.trees.leaf_influence import multiply_curvature, solve_leaves
from fastif.trees.training import TreeTraining


def compute_boostin(
    training: TreeTraining,
    query_leaves: Int[Tensor, "t q"],
    query_targets: Shaped[Tensor, "q *d"],
    measure: Measure,
) -> Float[Tensor, "q n"]:
    """BoostIn: TracIn for boosted trees (Brophy et al., 2023).

    In each round a query's slope is multiplied with the derivative of its leaf's value in the
    weight of a row in the same leaf. The gradients of later rounds are taken as fixed.

    Args:
        training: Training of the ensemble.
        query_leaves: Leaf of each query in each tree.
        query_targets: Targets of the queries.
        measure: Measure of the queries.

    Returns:
        Effect on each query's measure if a row is removed.
    """
    count, queries = len(training), query_leaves.shape[1]
    scores = training.ensemble.base.expand(queries, -1).clone()
    effect = scores.new_zeros(count, queries)
    for step in training.iterate_rounds():
        slopes = differentiate(measure, training.ensemble.loss, scores, query_targets)
        for place, tree in enumerate(step.trees):
            own, leaf = query_leaves[step.number + place].long(), step.leaves[place]
            scores[:, tree.outputs] += tree.values[own]
            if not tree.rate:
                continue
            at_leaves = slopes.new_zeros(len(tree.values), queries, tree.values.shape[1])
            at_leaves[own, torch.arange(queries)] = slopes[:, tree.outputs]
            slope = solve_leaves(training, step, place, at_leaves)[0]
            gradient = training.ensemble.loss.gradient(step.scores, training.targets)
            values = tree.values[leaf] / tree.rate
            bent = gradient[:, tree.outputs] + multiply_curvature(training, step, tree, values)
            effect += (slope[leaf] * bent[:, None]).sum(-1)
    return (effect * training.weights[:, None]).T
