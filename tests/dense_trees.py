"""Training of boosted trees with a fixed structure, written with dense matrices."""

import torch


def fit_densely(training, weights, leaves):
    """Scores of queries by a training with the same structure, written with dense matrices.

    Gradients and Hessians are those of autograd on each row's loss; only the diagonal curvature of
    a library is its own.
    """
    ensemble, targets = training.ensemble, training.targets
    outputs, kind = ensemble.loss.outputs, type(ensemble.loss).__name__
    if training.starts_from_data:
        own = weights * training.start_factor
        share = (own[:, None] * one_hot(targets, outputs)).sum(0) / own.sum()
        start = {"Logistic": share.logit(), "Softmax": share.log(), "HalfSquaredError": share}[kind]
        start = start / getattr(ensemble.loss, "sigmoid", 1.0)
    else:
        start = ensemble.base
    scores = start.expand(len(targets), -1)
    queries = start.expand(leaves.shape[1], -1)
    place = 0
    for trees in ensemble.rounds:
        steps, steps_of_queries = torch.zeros_like(scores), torch.zeros_like(queries)
        p = {"Logistic": scores.sigmoid(), "Softmax": scores.softmax(1)}.get(kind, scores)
        gradient = p - one_hot(targets, outputs)
        if kind == "HalfSquaredError":
            gradient = scores - targets[:, None]
        for tree in trees:
            inside = one_hot(training.leaves[place], len(tree.values))
            weighted = inside * weights[:, None]
            l2 = training.l2[place][:, None]
            if ensemble.joint_newton:
                matrix = torch.diag_embed(p) - p[:, :, None] * p[:, None]
                total = torch.einsum("nl,nab->lab", weighted, matrix)
                total = total + l2[:, :, None] * torch.eye(outputs).double()
                values = -torch.linalg.solve(total, weighted.T @ gradient)
            else:
                h = {"Softmax": getattr(ensemble.loss, "factor", 1) * p * (1 - p)}.get(
                    kind, p * (1 - p) if kind == "Logistic" else torch.ones_like(p)
                )
                below = weighted.T @ h[:, tree.outputs] + l2
                values = -(weighted.T @ gradient[:, tree.outputs]) / below.clamp_min(1e-12)
            pad = torch.zeros(len(values), outputs).double()
            pad[:, tree.outputs] = 1.0
            values = tree.rate * (values if values.shape[1] == outputs else values * pad)
            steps = steps + inside @ values
            steps_of_queries = steps_of_queries + one_hot(leaves[place], len(values)) @ values
            place += 1
        scores, queries = scores + steps, queries + steps_of_queries
    return queries


def one_hot(numbers, count):
    if numbers.is_floating_point() or count == 1:
        return numbers[:, None].double()
    return torch.nn.functional.one_hot(numbers.long(), count).double()
