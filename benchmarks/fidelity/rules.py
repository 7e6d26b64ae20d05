"""Rules for λ without retraining, for comparison with the selection by retraining.

All use the model linearised around its weights: the displacement from the initial weights is a
ridge regression of z = R (θ - θ₀) - u on the factor rows R with weight λ n.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.fidelity.space import ExampleSpace


def by_evidence(
    space: ExampleSpace, projected_path: Float[Tensor, " m"], dampings: list[float]
) -> list[float]:
    """Return the log marginal likelihood of z by λ (MacKay, 1992), noise 1."""
    target = space.vectors.T @ (projected_path - space.pulls)
    unexplained = float((projected_path - space.pulls).square().sum() - target.square().sum())
    values = []
    for damping in dampings:
        shrinkage = damping * space.rows / (space.values + damping * space.rows)
        values.append(
            float(0.5 * (shrinkage.log().sum() - (shrinkage * target.square()).sum() - unexplained))
        )
    return values


def by_cross_validation(
    space: ExampleSpace, projected_path: Float[Tensor, " m"], dampings: list[float]
) -> list[float]:
    """Return minus the generalised cross-validation score by λ (Golub, Heath & Wahba, 1979)."""
    target = space.vectors.T @ (projected_path - space.pulls)
    count = len(projected_path)
    unexplained = float((projected_path - space.pulls).square().sum() - target.square().sum())
    values = []
    for damping in dampings:
        shrinkage = damping * space.rows / (space.values + damping * space.rows)
        trace = float(shrinkage.sum()) + count - len(shrinkage)
        values.append(
            -(float((shrinkage * target).square().sum()) + unexplained)
            / count
            / (trace / count) ** 2
        )
    return values


def by_leave_one_out(space: ExampleSpace, dampings: list[float], held_out: float) -> list[float]:
    """Return minus the gap between predicted leave-one-out loss and held-out loss by λ."""
    by_row = torch.argsort(space.owners, stable=True)
    vectors = space.vectors[by_row].view(space.rows, -1, space.vectors.shape[1])
    pulls = space.by_example(space.pulls)
    unit = torch.eye(pulls.shape[1], dtype=pulls.dtype)
    values = []
    for damping in dampings:
        share = space.values / (space.values + damping * space.rows)
        lever = torch.einsum("nar,r,nbr->nab", vectors, share, vectors)
        step = torch.linalg.solve(unit - lever + 1e-9 * unit, (lever @ pulls[..., None]))
        displacement = torch.linalg.lstsq(space.roots.mT, step, driver="gelsd").solution[..., 0]
        loss = float(F.cross_entropy(space.logits + displacement, space.labels))
        values.append(-abs(torch.tensor(loss).log().item() - torch.tensor(held_out).log().item()))
    return values
