"""Whether H + λI is positive definite, without which an influence has no sign to be trusted."""

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
"""Key of a factor that holds `EigenvalueBounds` of the operator without its damping."""

STEPS = 200
SEED = 0
"""Of the first row: a bound taken again is the same."""

FAILURE_PROBABILITY = 1e-3
"""That a bound does not hold, over the random first row."""

MAX_BASIS_SIZE = 2**24
"""Numbers that the Lanczos rows may take; with fewer they are kept orthogonal to each other."""

MAX_DENSE_SIZE = 4000
"""Parameters up to which all eigenvalues of a dense matrix are taken."""

DAMPING_MARGIN = 1.05
"""Of a damping that is proposed."""


@dataclass(frozen=True)
class EigenvalueBounds:
    """What is known of the least eigenvalue of a symmetric matrix.

    Attributes:
        upper: a Rayleigh quotient, so the least eigenvalue is no larger.
        lower: it is no smaller, but for a chance of 1 in 1,000 where Lanczos found it.
        steps: products that it took; 0 for one that is known from the operator or exactly.
    """

    upper: float
    lower: float
    steps: int = 0

    def with_damping(self, damping: float) -> "EigenvalueBounds":
        """Of the same matrix with damping on its diagonal."""
        return EigenvalueBounds(self.upper + damping, self.lower + damping, self.steps)

    @property
    def is_decided(self) -> bool:
        """Whether the sign is known, or would not be known by more steps."""
        return self.lower > 0 or self.upper <= 0 or self.steps in (0, STEPS)


def add_min_eigenvalue(operator: DampedOperator, factor: Factor) -> Factor:
    """The factor with what tells whether the operator is positive definite, where that is open."""
    if operator.operator.is_semidefinite or _read_bounds(operator, factor) is not None:
        return factor
    bounds = bound_min_eigenvalue(operator.operator, operator.damping)
    values = torch.tensor([bounds.upper, bounds.lower, bounds.steps], dtype=torch.float64)
    return {**factor, MIN_EIGENVALUE: values}


def require_positive_definite(operator: DampedOperator, factor: Factor) -> float:
    """A lower bound of the least eigenvalue of H + λI.

    λ where H is semidefinite by its making (Gauss-Newton, EK-FAC). Of others it is taken from the
    factor, or by Lanczos; it may be 0 or less where 200 products do not tell the sign.

    Raises:
        InputError: there is an eigenvalue of 0 or less; with the damping that would do.
    """
    if operator.operator.is_semidefinite:
        return operator.damping
    values = add_min_eigenvalue(operator, factor)[MIN_EIGENVALUE].tolist()
    bounds = EigenvalueBounds(values[0], values[1], int(values[2])).with_damping(operator.damping)
    if bounds.upper <= 0:
        raise _indefinite_error(operator, bounds)
    return bounds.lower


def find_sufficient_damping(operator: DampedOperator, lower: float) -> float:
    """Damping under which no eigenvalue is 0 or less, with 5 % to spare.

    Args:
        operator: with too little damping.
        lower: of its least eigenvalue, 0 or less.
    """
    needed = DAMPING_MARGIN * (operator.damping - lower) - operator.operator.ridge
    power = 10.0 ** (math.floor(math.log10(needed)) - 2) if needed > 0 else 1.0
    return max(0.0, math.ceil(needed / power) * power)


def compute_min_eigenvalue(
    matrix: Float[Tensor, "p p"], damping: float
) -> Float[Tensor, " 3"] | None:
    """What a factor holds of a dense H + λI under `MIN_EIGENVALUE`; None for too large a matrix."""
    if len(matrix) > MAX_DENSE_SIZE or not bool(torch.isfinite(matrix).all()):
        return None
    min_eigenvalue = float(torch.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) - damping
    return torch.tensor([min_eigenvalue, min_eigenvalue, 0.0], dtype=torch.float64)


def bound_min_eigenvalue(
    operator: LinearOperator, damping: float = 0.0, steps: int = STEPS
) -> EigenvalueBounds:
    """Lanczos from a random row; it ends once the sign of the least eigenvalue + damping is known.

    After k steps the least Ritz value θ exceeds the least eigenvalue by at most ε (largest - least
    eigenvalue), where 1.648 √p exp(-(2k - 1) √ε) is the chance that it does not, whatever the
    spectrum is (Kuczyński and Woźniakowski, 1992). After p steps θ is exact.

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
    """Whether the sign is known, and how large the eigenvalue is, to a useful degree."""
    damped_bounds = bounds.with_damping(damping)
    if damped_bounds.upper <= 0:
        return bounds.upper - bounds.lower <= 0.05 * abs(bounds.upper)
    return damped_bounds.lower > 0.5 * damped_bounds.upper


class _Lanczos:
    """The recurrence, a product a step; the eigenvalues of its matrix in ascending order."""

    def __init__(self, operator: LinearOperator, keep: bool) -> None:
        generator, like = torch.Generator().manual_seed(SEED), operator.like
        start = torch.randn(1, operator.size, generator=generator, dtype=torch.float64)
        self.operator, self.keep = operator, keep
        self.row = (start / start.norm()).to(like)
        self.before, self.beta = torch.zeros_like(self.row), 0.0
        self.basis = [self.row] if keep else []
        self.diagonal: list[float] = []
        self.beside: list[float] = []

    def step(self) -> tuple[Float[Tensor, " k"], bool]:
        """All Ritz values, and whether the rows span an invariant space."""
        product = self.operator.apply(self.row)
        check_finite_products(product)
        alpha = float((product.double() * self.row.double()).sum())
        product = product - alpha * self.row - self.beta * self.before
        if self.keep:
            basis = torch.cat(self.basis)
            product = product - (product @ basis.T) @ basis
        self.diagonal.append(alpha)
        matrix = torch.diag(torch.tensor(self.diagonal, dtype=torch.float64))
        if self.beside:
            off_diagonal = torch.tensor(self.beside, dtype=torch.float64)
            matrix += torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)
        ritz = torch.linalg.eigvalsh(matrix)
        self.beta = float(product.double().norm())
        tiny = 10 * torch.finfo(product.dtype).eps * float(ritz.abs().max())
        if self.beta <= tiny:
            return ritz, True
        self.beside.append(self.beta)
        self.before, self.row = self.row, product / self.beta
        if self.keep:
            self.basis.append(self.row)
        return ritz, False


def _read_bounds(operator: DampedOperator, factor: Factor) -> EigenvalueBounds | None:
    """What the factor holds, unless it was settled for a larger damping alone."""
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
        f"{kind} + λI with no eigenvalue of 0 or less, or effects have no sign to trust",
        f"one of {bounds.upper:.3g} or less with an effective λ of {operator.damping:.3g}",
        f"Take a damping of {sufficient:.3g} or more, or the Gauss-Newton matrix, which has none.",
    )
