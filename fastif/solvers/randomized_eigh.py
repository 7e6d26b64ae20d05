"""The largest eigenvalues of an operator and their eigenvectors, and division by them."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import LinearOperator
from fastif.numerics.blocked_dot import pairwise_dots
from fastif.solvers.lanczos import check_finite_products

SEED = 0
"""Of the random rows to start from: eigenpairs taken again are the same."""


def compute_eigenpairs(
    operator: LinearOperator, rank: int
) -> tuple[Float[Tensor, "r p"], Float[Tensor, " r"]]:
    """Orthonormal rows U and w with A ≈ Uᵀ diag(w) U, for positive semi-definite A.

    Two products with r rows each: A times random rows spans what matters, and A is diagonalised in
    that span (Halko, Martinsson and Tropp, 2011). Memory: three matrices r x p.

    Raises:
        InputError: a product with the operator is not finite.

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
    """Rows P⁻¹, P being A + damping I if all other eigenvalues were as large as the least of these.

    Up to a factor, which no solver minds (Frangella, Tropp and Udell, 2023).
    """
    weights = (values.min() + damping) / (values + damping) - 1
    return rhs + (pairwise_dots(rhs, vectors) * weights) @ vectors
