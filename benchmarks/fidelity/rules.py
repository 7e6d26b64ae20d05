"""Rules for λ that need no retraining, for comparison with the one that does.

All look at the model as it is linearised around its weights: the displacement from the weights that
training began with is a ridge regression of z = R (θ - θ₀) - u on R with weight λ n.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.fidelity.space import ExampleSpace


def by_evidence(
    space: ExampleSpace, moved: Float[Tensor, " m"], dampings: list[float]
) -> list[float]:
    """Log marginal likelihood of z (MacKay, 1992), noise 1."""
    target = space.vectors.T @ (moved - space.pulls)
    rest = float((moved - space.pulls).square().sum() - target.square().sum())
    found = []
    for damping in dampings:
        left = damping * space.rows / (space.values + damping * space.rows)
        found.append(float(0.5 * (left.log().sum() - (left * target.square()).sum() - rest)))
    return found


def by_cross_validation(
    space: ExampleSpace, moved: Float[Tensor, " m"], dampings: list[float]
) -> list[float]:
    """Minus the generalised cross-validation score (Golub, Heath and Wahba, 1979)."""
    target = space.vectors.T @ (moved - space.pulls)
    count = len(moved)
    rest = float((moved - space.pulls).square().sum() - target.square().sum())
    found = []
    for damping in dampings:
        left = damping * space.rows / (space.values + damping * space.rows)
        trace = float(left.sum()) + count - len(left)
        found.append(-(float((left * target).square().sum()) + rest) / count / (trace / count) ** 2)
    return found


def by_leave_one_out(space: ExampleSpace, dampings: list[float], held_out: float) -> list[float]:
    """Minus the distance of the predicted leave-one-out loss from the loss of rows held out."""
    by_row = torch.argsort(space.owners, stable=True)
    vectors = space.vectors[by_row].view(space.rows, -1, space.vectors.shape[1])
    pulls = space.by_example(space.pulls)
    unit = torch.eye(pulls.shape[1], dtype=pulls.dtype)
    found = []
    for damping in dampings:
        share = space.values / (space.values + damping * space.rows)
        lever = torch.einsum("nar,r,nbr->nab", vectors, share, vectors)
        step = torch.linalg.solve(unit - lever + 1e-9 * unit, (lever @ pulls[..., None]))
        moved = torch.linalg.lstsq(space.roots.mT, step, driver="gelsd").solution[..., 0]
        loss = float(F.cross_entropy(space.logits + moved, space.labels))
        found.append(-abs(torch.tensor(loss).log().item() - torch.tensor(held_out).log().item()))
    return found
