"""Agreement of effects by the curvature of sampled rows with those by the curvature of all rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import FactorCoefficients
from fastif.numerics.blocked_dot import row_dots, row_norms
from fastif.numerics.correlation import pearson, spearman
from fastif.numerics.t_interval import mean_t_interval
from fastif.solvers.gram import (
    apply_factor,
    apply_factor_transpose,
    iterate_tiles,
    make_shifted_inverse,
)
from fastif.solvers.solver import safe_ratio

TOP_SIZES = (10, 100)
"""Sizes of the sets of most influential rows that are compared."""
TOLERANCE = 1e-2
"""Relative residual at which the reference stops."""
MAX_RESIDUAL = 0.1
"""Largest relative residual of a reference that is compared with."""


@dataclass(frozen=True)
class AgreementPoint:
    """Agreement of the effects by a sample of curvature rows, means over the control queries.

    Attributes:
        rows: Number of curvature rows.
        pearson: Correlation of the effects of all training rows.
        low: Lower bound of the 95 % interval of `pearson` (t interval of Fisher's z).
        high: Upper bound of that interval.
        spearman: Rank correlation of the effects of all training rows.
        top_10: Overlap of the 10 rows with the largest absolute effect, as a share.
        top_100: Overlap of the 100 rows with the largest absolute effect, as a share.
    """

    rows: int
    pearson: float
    low: float
    high: float
    spearman: float
    top_10: float
    top_100: float


@dataclass(frozen=True)
class CurvatureAgreement:
    """Agreement of nested samples of curvature rows with all rows.

    Attributes:
        points: Agreement of each sample, the smallest first; the last is the sample in use.
        queries: Number of control queries.
        residual: Largest relative residual of the reference.
        passes: Number of passes over all rows.
    """

    points: tuple[AgreementPoint, ...]
    queries: int
    residual: float
    passes: int

    @property
    def in_use(self) -> AgreementPoint:
        """Agreement of the sample in use."""
        return self.points[-1]

    @property
    def estimate_of_twice(self) -> float | None:
        """Estimated correlation of twice the rows; None if the points do not rise.

        The distance from 1 is assumed to shrink by the same factor as over the last doubling.
        """
        if len(self.points) < 2:
            return None
        before, now = (1 - point.pearson for point in self.points[-2:])
        return 1 - now * now / before if 0 < now < before else None


@dataclass(frozen=True, eq=False)
class SampledInverse:
    """Inverse of the damped Gauss-Newton matrix of sampled rows, and of subsets of them.

    Attributes:
        sampled: Curvature of the sampled rows.
        kernel: Gram matrix of its factor rows.
        damping: Effective damping λ.
        owners: Position in the training table of the example of each factor row.
    """

    sampled: GaussNewton
    kernel: Float[Tensor, "r r"]
    damping: float
    owners: Int[Tensor, " r"]

    def solve_subsets(
        self, rhs: Float[Tensor, "q p"], subsets: Sequence[Int[Tensor, " _"]]
    ) -> Float[Tensor, "sq p"]:
        """Solve with the curvature of each subset, in two passes over the sampled rows."""
        projected = apply_factor(self.sampled, rhs)
        weights = [self._solve_small(projected, subset) for subset in subsets]
        values = rhs.repeat(len(subsets), 1)
        return apply_factor_transpose(self.sampled, -torch.cat(weights), values).div_(self.damping)

    def _solve_small(self, projected: Tensor, subset: Tensor) -> Float[Tensor, "q r"]:
        """Solve the small system of a subset; factor rows outside have the coefficient zero."""
        inside = torch.isin(self.owners, subset).to(projected.device)
        block = self.kernel[inside][:, inside]
        inverse = make_shifted_inverse(block, self.damping * len(subset))
        weights = torch.zeros_like(projected)
        weights[:, inside] = inverse(projected[:, inside])
        return weights


def measure_curvature_agreement(
    inverse: SampledInverse,
    full: GaussNewton,
    coefficients: FactorCoefficients,
    rhs: Float[Tensor, "q p"],
    subsets: Sequence[Int[Tensor, " _"]],
    max_passes: int,
) -> CurvatureAgreement | None:
    """Compare effects by nested samples of curvature rows with those by all rows.

    The reference is solved by conjugate gradients on the curvature of all rows, with the curvature
    of the sample as preconditioner and its solution as first iterate. The scores of all training
    rows come from the same passes.

    Args:
        inverse: Inverse of the curvature of the sample.
        full: Curvature of all n training rows.
        coefficients: Loss gradients of the training rows in the factor rows of `full`.
        rhs: Gradients of the control queries; those that are 0 or not finite are left out.
        subsets: Positions of nested subsets of the sample, the smallest first; the last is the
            sample.
        max_passes: Largest number of passes over all rows, 2 or more.

    Returns:
        The agreement; None if no gradient remains, or if the reference does not converge within
        the passes.
    """
    rhs = _scale_gradients(rhs)
    count = len(rhs)
    if not count:
        return None
    values = inverse.solve_subsets(rhs, subsets)
    dots, product = _apply_all(full, values, count)
    residual = rhs - _damp(product, values[-count:], full, inverse)
    change, residual, steps = _refine(inverse, full, residual, row_norms(rhs), max_passes - 1)
    error = float(safe_ratio(row_norms(residual), row_norms(rhs)).max())
    if not error <= MAX_RESIDUAL:
        return None
    reference = coefficients.sum_by_example(dots[-count:] + change, full.count)
    points = [
        _compare(len(subset), coefficients.sum_by_example(part, full.count), reference)
        for subset, part in zip(subsets, dots.split(count), strict=True)
    ]
    return CurvatureAgreement(tuple(points), count, error, 1 + steps)


def _scale_gradients(rhs: Float[Tensor, "q p"]) -> Float[Tensor, "m p"]:
    """Return the finite gradients that are not 0, with entries up to 1.

    The agreement does not depend on their scale, but squares of tiny gradients would underflow.
    """
    largest = rhs.abs().amax(1, keepdim=True)
    usable = (largest.isfinite() & (largest > 0))[:, 0]
    return rhs[usable] / largest[usable]


def _refine(
    inverse: SampledInverse,
    full: GaussNewton,
    residual: Float[Tensor, "q p"],
    norms: Float[Tensor, " q"],
    max_steps: int,
) -> tuple[Float[Tensor, "q _"], Float[Tensor, "q p"], int]:
    """Reduce residuals by conjugate gradients, with the sample as preconditioner.

    Returns:
        The changes V x of the products with all factor rows, the residuals, and the steps.
    """
    change, steps, direction, square = None, 0, None, None
    sample = inverse.owners.unique()
    while steps < max_steps and bool((row_norms(residual) > TOLERANCE * norms).any()):
        preconditioned = inverse.solve_subsets(residual, [sample])
        previous, square = square, row_dots(residual, preconditioned)
        if direction is None or previous is None:
            direction = preconditioned
        else:
            direction = direction * safe_ratio(square, previous)[:, None] + preconditioned
        dots, product = _apply_all(full, direction, len(direction))
        product = _damp(product, direction, full, inverse)
        stride = safe_ratio(square, row_dots(direction, product))[:, None]
        moved = stride.to(dots) * dots
        change = moved if change is None else change + moved
        residual = residual - stride * product
        steps += 1
    if change is None:
        change = residual.new_zeros(len(residual), 1, dtype=torch.float64)
    return change, residual, steps


def list_owners(curvature: GaussNewton) -> Int[Tensor, " r"]:
    """Return the position in the training table of the example of each factor row, in order."""
    assert curvature.ids is not None
    batches = curvature.ids.split(curvature.batch_size)
    return torch.cat([batch.repeat(curvature.rows_per_example) for batch in batches])


def _apply_all(
    full: GaussNewton, vectors: Float[Tensor, "k p"], count: int
) -> tuple[Float[Tensor, "k r"], Float[Tensor, "q p"]]:
    """Return V x for all vectors, and VᵀV x for the last `count` of them, in one pass."""
    total, products = torch.zeros_like(vectors[-count:]), []
    for tile in iterate_tiles(full, 0, full.num_batches):
        dots = tile.dot(vectors)
        tile.accumulate(total, dots[-count:])
        products.append(dots.double())
    return torch.cat(products, dim=1), total


def _damp(
    product: Tensor, vectors: Tensor, full: GaussNewton, inverse: SampledInverse
) -> Float[Tensor, "q p"]:
    return product / full.count + inverse.damping * vectors


def _compare(
    rows: int, effects: Float[Tensor, "q n"], reference: Float[Tensor, "q n"]
) -> AgreementPoint:
    finite = torch.isfinite(effects).all(0) & torch.isfinite(reference).all(0)
    effects, reference = effects[:, finite].cpu(), reference[:, finite].cpu()
    correlations = pearson(effects, reference)
    correlations = correlations[torch.isfinite(correlations)]
    ranks = spearman(effects, reference)
    overlaps = [_overlap(effects, reference, size) for size in TOP_SIZES]
    mean = float(correlations.mean())
    low, high = _find_interval(correlations) if len(correlations) else (-1.0, 1.0)
    bounds = min(low, mean), max(high, mean)
    return AgreementPoint(rows, mean, *bounds, float(ranks.nanmean()), *overlaps)


def _find_interval(correlations: Float[Tensor, " q"]) -> tuple[float, float]:
    """Return the 95 % t interval of the mean of Fisher's z, as correlations."""
    limit = 1 - 1e-12  # the transform of 1 is infinite
    mean, half = mean_t_interval(torch.atanh(correlations.clamp(-limit, limit)).tolist())
    return math.tanh(mean - half), math.tanh(mean + half)


def _overlap(effects: Tensor, reference: Tensor, size: int) -> float:
    """Return the mean share of the rows of largest absolute effect that both have in common."""
    tops = [_mark_top(values, size) for values in (effects, reference)]
    return float((tops[0] & tops[1]).sum(1).double().mean() / tops[0].sum(1).double().mean())


def _mark_top(values: Float[Tensor, "q n"], size: int) -> Bool[Tensor, "q n"]:
    ids = values.abs().topk(min(size, values.shape[1]), dim=1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, ids, value=True)
