"""Randomized eigendecomposition of an operator, and the spectral preconditioner made from it."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import LinearOperator
from fastif.numerics.blocked_dot import pairwise_dots
from fastif.solvers.lanczos import check_finite_products

SEED = 0
"""Random seed of the start vectors, fixed so that eigenpairs are reproducible."""


def compute_eigenpairs(
    operator: LinearOperator, rank: int
) -> tuple[Float[Tensor, "r p"], Float[Tensor, " r"]]:
    """Randomized eigendecomposition A ≈ Uᵀ diag(w) U (Halko, Martinsson and Tropp, 2011).

    A must be positive semi-definite. Two products with r vectors: A times random vectors spans the
    dominant subspace, and A is diagonalised in it. Memory: three matrices r x p.

    Args:
        operator: Symmetric positive semi-definite operator A.
        rank: Number r of eigenpairs.

    Returns:
        Orthonormal eigenvectors U, one in each row, and eigenvalues w.

    Raises:
        InputError: If a product with the operator is not finite.

    Examples:
        >>> from fastif.curvature import DenseOperator
        >>> operator = DenseOperator(torch.diag(torch.tensor([3.0, 1.0, 0.0])))
        >>> _, values = compute_eigenpairs(operator, rank=2)
        >>> values.sort().values.round(decimals=4)
        tensor([1., 3.])
    """
    like, rank = operator.like, min(rank, operator.size)
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn(rank, operator.size, generator=generator, dtype=like.dtype)
    products = operator.apply(start.to(like.device))
    check_finite_products(products)
    span = torch.linalg.qr(products.T).Q.T.contiguous()
    inner = pairwise_dots(operator.apply(span), span).double()
    values, rotation = torch.linalg.eigh((inner + inner.T) / 2)
    return rotation.T.to(like.dtype) @ span, values.clamp_min_(0).to(like.dtype)


def apply_spectral_preconditioner(
    rhs: Float[Tensor, "q p"],
    vectors: Float[Tensor, "r p"],
    values: Float[Tensor, " r"],
    damping: float,
) -> Float[Tensor, "q p"]:
    """Multiply vectors by P⁻¹ of the randomized Nyström preconditioner.

    P is A + damping·I with all other eigenvalues set to the smallest of the given ones, up to a
    constant factor (Frangella, Tropp and Udell, 2023).

    Args:
        rhs: Vectors to multiply.
        vectors: Orthonormal eigenvectors of A, one in each row.
        values: Eigenvalues of A.
        damping: Damping λ.
    """
    weights = (values.min() + damping) / (values + damping) - 1
    return rhs + (pairwise_dots(rhs, vectors) * weights) @ vectors
