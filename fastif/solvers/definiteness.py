"""Minimum eigenvalue of H + λI: influence needs a positive definite matrix to have a sign."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, LinearOperator
from fastif.errors import InputError
from fastif.solvers.lanczos import check_finite_products
from fastif.solvers.solver import Factor

MIN_EIGENVALUE = "least"
"""Key of the `EigenvalueBounds` of the undamped operator in a solver's factor."""

STEPS = 200
SEED = 0
"""Random seed of the start vector, fixed so that bounds are reproducible."""

FAILURE_PROBABILITY = 1e-3
"""Probability over the random start vector that a Lanczos bound does not hold."""

MAX_BASIS_SIZE = 2**24
"""Numbers in the Lanczos basis up to which it is held and reorthogonalised."""

MAX_DENSE_SIZE = 4000
"""Number of parameters up to which all eigenvalues of a dense matrix are computed."""

DAMPING_MARGIN = 1.05
"""Safety factor of a proposed damping."""


@dataclass(frozen=True)
class EigenvalueBounds:
    """Bounds on the minimum eigenvalue of a symmetric matrix.

    Attributes:
        upper: Upper bound, a Rayleigh quotient.
        lower: Lower bound; it fails with probability 1/1,000 if it comes from Lanczos.
        steps: Number of products that were taken; 0 if the eigenvalue is exact.
    """

    upper: float
    lower: float
    steps: int = 0

    def with_damping(self, damping: float) -> "EigenvalueBounds":
        """Return the bounds for the matrix plus damping·I."""
        return EigenvalueBounds(self.upper + damping, self.lower + damping, self.steps)

    @property
    def is_decided(self) -> bool:
        """Whether the sign is known, or more steps would not determine it."""
        return self.lower > 0 or self.upper <= 0 or self.steps in (0, STEPS)


def add_min_eigenvalue(operator: DampedOperator, factor: Factor) -> Factor:
    """Return the factor with bounds on the minimum eigenvalue, if definiteness is open."""
    if operator.operator.is_semidefinite or _read_bounds(operator, factor) is not None:
        return factor
    bounds = bound_min_eigenvalue(operator.operator, operator.damping)
    values = torch.tensor([bounds.upper, bounds.lower, bounds.steps], dtype=torch.float64)
    return {**factor, MIN_EIGENVALUE: values}


def require_positive_definite(operator: DampedOperator, factor: Factor) -> float:
    """Return a lower bound of the minimum eigenvalue of H + λI.

    The bound is λ for a semi-definite H (Gauss-Newton, EK-FAC). For others it comes from the factor
    or from Lanczos, and may be 0 or less if 200 products do not determine the sign.

    Raises:
        InputError: If an eigenvalue is 0 or less, with a sufficient damping.
    """
    if operator.operator.is_semidefinite:
        return operator.damping
    values = add_min_eigenvalue(operator, factor)[MIN_EIGENVALUE].tolist()
    bounds = EigenvalueBounds(values[0], values[1], int(values[2])).with_damping(operator.damping)
    if bounds.upper <= 0:
        raise _indefinite_error(operator, bounds)
    return bounds.lower


def find_sufficient_damping(operator: DampedOperator, lower: float) -> float:
    """Return a damping with which all eigenvalues are positive, with a margin of 5 %.

    Args:
        operator: Operator with too little damping.
        lower: Lower bound of its minimum eigenvalue, 0 or less.
    """
    needed = DAMPING_MARGIN * (operator.damping - lower) - operator.operator.ridge
    power = 10.0 ** (math.floor(math.log10(needed)) - 2) if needed > 0 else 1.0
    return max(0.0, math.ceil(needed / power) * power)


def compute_min_eigenvalue(
    matrix: Float[Tensor, "p p"], damping: float
) -> Float[Tensor, " 3"] | None:
    """Return the `MIN_EIGENVALUE` entry of a dense H + λI; None if the matrix is too large."""
    if len(matrix) > MAX_DENSE_SIZE or not bool(torch.isfinite(matrix).all()):
        return None
    min_eigenvalue = float(torch.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) - damping
    return torch.tensor([min_eigenvalue, min_eigenvalue, 0.0], dtype=torch.float64)


def bound_min_eigenvalue(
    operator: LinearOperator, damping: float = 0.0, steps: int = STEPS
) -> EigenvalueBounds:
    """Bound the minimum eigenvalue by Lanczos from a random start vector.

    After k steps the minimum Ritz value θ exceeds the minimum eigenvalue by at most ε (λ_max -
    λ_min), except with probability 1.648 √p exp(-(2k - 1) √ε), for every spectrum (Kuczyński and
    Woźniakowski, 1992). After p steps θ is exact. The iteration ends when the sign of minimum
    eigenvalue + damping is known.

    Args:
        operator: Symmetric operator without damping.
        damping: Damping that decides the sign.
        steps: Largest number of products.

    Examples:
        >>> from fastif.curvature import DenseOperator
        >>> operator = DenseOperator(torch.diag(torch.tensor([3.0, 1.0, -2.0])))
        >>> round(bound_min_eigenvalue(operator).lower, 3)
        -2.0
    """
    size, steps = operator.size, min(steps, operator.size)
    recurrence = _Lanczos(operator, keep=steps * size <= MAX_BASIS_SIZE)
    bounds = EigenvalueBounds(math.inf, -math.inf)
    for step in range(1, steps + 1):
        ritz, is_invariant = recurrence.step()
        exact = is_invariant or step == size
        gap_ratio = (
            0.0
            if exact
            else (math.log(1.648 * math.sqrt(size) / FAILURE_PROBABILITY) / (2 * step - 1)) ** 2
        )
        spread = float(ritz[-1] - ritz[0])
        lower = float(ritz[0]) - (
            gap_ratio / (1 - gap_ratio) * spread if gap_ratio < 1 else math.inf
        )
        bounds = EigenvalueBounds(float(ritz[0]), lower, 0 if exact else step)
        if exact or _is_precise(bounds, damping):
            break
    return bounds


def _is_precise(bounds: EigenvalueBounds, damping: float) -> bool:
    """Whether the sign is known, and the eigenvalue to a useful relative precision."""
    damped_bounds = bounds.with_damping(damping)
    if damped_bounds.upper <= 0:
        return bounds.upper - bounds.lower <= 0.05 * abs(bounds.upper)
    return damped_bounds.lower > 0.5 * damped_bounds.upper


class _Lanczos:
    """Lanczos recurrence with one product for each step, and Ritz values in ascending order."""

    def __init__(self, operator: LinearOperator, keep: bool) -> None:
        generator, like = torch.Generator().manual_seed(SEED), operator.like
        start = torch.randn(1, operator.size, generator=generator, dtype=torch.float64)
        self.operator, self.keep = operator, keep
        self.vector = (start / start.norm()).to(like)
        self.previous, self.beta = torch.zeros_like(self.vector), 0.0
        self.basis = [self.vector] if keep else []
        self.diagonal: list[float] = []
        self.off_diagonal: list[float] = []

    def step(self) -> tuple[Float[Tensor, " k"], bool]:
        """Return all Ritz values, and whether the basis spans an invariant subspace."""
        product = self.operator.apply(self.vector)
        check_finite_products(product)
        alpha = float((product.double() * self.vector.double()).sum())
        product = product - alpha * self.vector - self.beta * self.previous
        if self.keep:
            basis = torch.cat(self.basis)
            product = product - (product @ basis.T) @ basis
        self.diagonal.append(alpha)
        matrix = torch.diag(torch.tensor(self.diagonal, dtype=torch.float64))
        if self.off_diagonal:
            off_diagonal = torch.tensor(self.off_diagonal, dtype=torch.float64)
            matrix += torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)
        ritz = torch.linalg.eigvalsh(matrix)
        self.beta = float(product.double().norm())
        tiny = 10 * torch.finfo(product.dtype).eps * float(ritz.abs().max())
        if self.beta <= tiny:
            return ritz, True
        self.off_diagonal.append(self.beta)
        self.previous, self.vector = self.vector, product / self.beta
        if self.keep:
            self.basis.append(self.vector)
        return ritz, False


def _read_bounds(operator: DampedOperator, factor: Factor) -> EigenvalueBounds | None:
    """Return the bounds in the factor, unless they decide the sign for a larger damping only."""
    if MIN_EIGENVALUE not in factor:
        return None
    upper, lower, steps = factor[MIN_EIGENVALUE].tolist()
    bounds = EigenvalueBounds(upper, lower, int(steps))
    return bounds if bounds.with_damping(operator.damping).is_decided else None


def _indefinite_error(operator: DampedOperator, bounds: EigenvalueBounds) -> InputError:
    kind = type(operator.operator).__name__
    sufficient = find_sufficient_damping(operator, min(bounds.lower, bounds.upper))
    return InputError(
        "curvature",
        f"{kind} + λI positive definite, without which the sign of an influence is undefined",
        f"an eigenvalue of {bounds.upper:.3g} or less at effective λ = {operator.damping:.3g}",
        f"Set a damping of {sufficient:.3g} or more, or use the Gauss-Newton matrix, which has "
        "no negative eigenvalue.",
    )
