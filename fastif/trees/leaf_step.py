"""Newton step of the leaf values of one tree, and its adjoint."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.trees.tree import Tree

Rows = Float[Tensor, "n b o"]
Leaves = Float[Tensor, "l b o"]


def sum_by_leaf(values: Float[Tensor, "n *b"], leaf: Int[Tensor, " n"], leaves: int) -> Tensor:
    """Return the sums [l *b] of the rows' values by leaf."""
    return values.new_zeros(leaves, *values.shape[1:]).index_add_(0, leaf, values)


def compute_steps(
    tree: Tree,
    leaf: Int[Tensor, " n"],
    gradient: Rows,
    curvature: Float[Tensor, "n b *o o"],
    l1: float,
    l2: Float[Tensor, " l"],
) -> Leaves:
    """Return θ = -S(G)/(H + λ) of each leaf, 0 for an empty one; S is the soft threshold of L1.

    Args:
        tree: Tree whose leaf values are fitted.
        leaf: Leaf of each row.
        gradient: Weighted gradients of the tree's outputs.
        curvature: Weighted curvatures [n b o], or [n b o o] for a joint step.
        l1: L1 penalty.
        l2: L2 penalty λ of each leaf.
    """
    leaves = len(tree.values)
    total = sum_by_leaf(gradient, leaf, leaves)
    total = total.sign() * (total.abs() - l1).clamp_min(0)
    return -divide(total, sum_by_leaf(curvature, leaf, leaves), l2)


def divide(total: Leaves, curvature: Float[Tensor, "l c *o o"], l2: Float[Tensor, " l"]) -> Leaves:
    """Return (H + λ)⁻¹ applied to the totals of the leaves; 0 where H + λ is 0."""
    if curvature.dim() == total.dim():
        damped = curvature + l2[:, None, None]
        return torch.where(damped > 0, total / damped.clamp_min(1e-300), 0.0)
    identity = torch.eye(total.shape[-1], dtype=total.dtype)
    damped = curvature + (l2 + l2.eq(0) * 1e-12)[:, None, None, None] * identity
    shape = torch.broadcast_shapes(damped.shape[:-2], total.shape[:-1])
    damped = damped.expand(*shape, *damped.shape[-2:])
    return torch.linalg.solve(damped, total.expand(*shape, -1)[..., None])[..., 0]
