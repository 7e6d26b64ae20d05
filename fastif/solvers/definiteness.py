"""Whether H + λI is positive definite, without which an influence has no sign to be trusted."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped, LinearOperator
from fastif.errors import InputError
from fastif.solvers.lanczos import check_finite_products
from fastif.solvers.solver import Factor

LEAST = "least"
"""Key of a factor that holds `Least` of the operator without its damping."""

STEPS = 200
SEED = 0
"""Of the first row: a bound taken again is the same."""

CHANCE = 1e-3
"""That a bound does not hold, over the random first row."""

BASIS = 2**24
"""Numbers that the Lanczos rows may take; with fewer they are kept orthogonal to each other."""

DENSE = 4000
"""Parameters up to which all eigenvalues of a dense matrix are taken."""

MARGIN = 1.05
"""Of a damping that is proposed."""


@dataclass(frozen=True)
class Least:
    """What is known of the least eigenvalue of a symmetric matrix.

    Attributes:
        reached: a Rayleigh quotient, so the least eigenvalue is no larger.
        bound: it is no smaller, but for a chance of 1 in 1,000 where Lanczos found it.
        steps: products that it took; 0 for one that is known from the operator or exactly.
    """

    reached: float
    bound: float
    steps: int = 0

    def damped(self, damping: float) -> "Least":
        """Of the same matrix with damping on its diagonal."""
        return Least(self.reached + damping, self.bound + damping, self.steps)

    @property
    def settled(self) -> bool:
        """Whether the sign is known, or would not be known by more steps."""
        return self.bound > 0 or self.reached <= 0 or self.steps in (0, STEPS)


def with_least(operator: Damped, factor: Factor) -> Factor:
    """The factor with what tells whether the operator is positive definite, where that is open."""
    if operator.operator.semidefinite or _kept(operator, factor) is not None:
        return factor
    least = lanczos_least(operator.operator, operator.damping)
    kept = torch.tensor([least.reached, least.bound, least.steps], dtype=torch.float64)
    return {**factor, LEAST: kept}


def positive_definite(operator: Damped, factor: Factor) -> float:
    """A lower bound of the least eigenvalue of H + λI.

    λ where H is semidefinite by its making (Gauss-Newton, EK-FAC). Of others it is taken from the
    factor, or by Lanczos; it may be 0 or less where 200 products do not tell the sign.

    Raises:
        InputError: there is an eigenvalue of 0 or less; with the damping that would do.
    """
    if operator.operator.semidefinite:
        return operator.damping
    kept = with_least(operator, factor)[LEAST].tolist()
    least = Least(kept[0], kept[1], int(kept[2])).damped(operator.damping)
    if least.reached <= 0:
        raise _indefinite(operator, least)
    return least.bound


def damping_that_does(operator: Damped, bound: float) -> float:
    """What to give `LinearOperator.damped` so that no eigenvalue is 0 or less, with 5 % to spare.

    Args:
        operator: with too little damping.
        bound: of its least eigenvalue, 0 or less.
    """
    needed = MARGIN * (operator.damping - bound) - operator.operator.ridge
    power = 10.0 ** (math.floor(math.log10(needed)) - 2) if needed > 0 else 1.0
    return max(0.0, math.ceil(needed / power) * power)


def exact_least(matrix: Float[Tensor, "p p"], damping: float) -> Float[Tensor, " 3"] | None:
    """What a factor holds of a dense H + λI under `LEAST`; None for too large a matrix."""
    if len(matrix) > DENSE or not bool(torch.isfinite(matrix).all()):
        return None
    least = float(torch.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) - damping
    return torch.tensor([least, least, 0.0], dtype=torch.float64)


def lanczos_least(operator: LinearOperator, damping: float = 0.0, steps: int = STEPS) -> Least:
    """Lanczos from a random row; it ends once the sign of the least eigenvalue + damping is known.

    After k steps the least Ritz value θ exceeds the least eigenvalue by at most ε (largest - least
    eigenvalue), where 1.648 √p exp(-(2k - 1) √ε) is the chance that it does not, whatever the
    spectrum is (Kuczyński and Woźniakowski, 1992). After p steps θ is exact.

    >>> from fastif.curvature import Dense
    >>> round(lanczos_least(Dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))).bound, 3)
    -2.0
    """
    size, steps = operator.size, min(steps, operator.size)
    rows = _Lanczos(operator, keep=steps * size <= BASIS)
    found = Least(math.inf, -math.inf)
    for step in range(1, steps + 1):
        ritz, ended = rows.step()
        exact = ended or step == size
        part = 0.0 if exact else (math.log(1.648 * math.sqrt(size) / CHANCE) / (2 * step - 1)) ** 2
        spread = float(ritz[-1] - ritz[0])
        bound = float(ritz[0]) - (part / (1 - part) * spread if part < 1 else math.inf)
        found = Least(float(ritz[0]), bound, 0 if exact else step)
        if exact or _told(found, damping):
            break
    return found


def _told(found: Least, damping: float) -> bool:
    """Whether the sign is known, and how large the eigenvalue is, to a useful degree."""
    least = found.damped(damping)
    if least.reached <= 0:
        return found.reached - found.bound <= 0.05 * abs(found.reached)
    return least.bound > 0.5 * least.reached


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
            held = torch.cat(self.basis)
            product = product - (product @ held.T) @ held
        self.diagonal.append(alpha)
        matrix = torch.diag(torch.tensor(self.diagonal, dtype=torch.float64))
        if self.beside:
            off = torch.tensor(self.beside, dtype=torch.float64)
            matrix += torch.diag(off, 1) + torch.diag(off, -1)
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


def _kept(operator: Damped, factor: Factor) -> Least | None:
    """What the factor holds, unless it was settled for a larger damping alone."""
    if LEAST not in factor:
        return None
    reached, bound, steps = factor[LEAST].tolist()
    least = Least(reached, bound, int(steps))
    return least if least.damped(operator.damping).settled else None


def _indefinite(operator: Damped, least: Least) -> InputError:
    kind = type(operator.operator).__name__
    does = damping_that_does(operator, min(least.bound, least.reached))
    return InputError(
        "curvature",
        f"{kind} + λI with no eigenvalue of 0 or less, or effects have no sign to trust",
        f"one of {least.reached:.3g} or less with an effective λ of {operator.damping:.3g}",
        f"Take a damping of {does:.3g} or more, or the Gauss-Newton matrix, which has none.",
    )
