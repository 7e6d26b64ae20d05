"""Choice of the damping λ by agreement with retraining on a few random half-subsets.

The best λ differs a hundredfold between ordinary models. Rules from the curvature or the loss do
not predict it; agreement with retraining does. The model is retrained on a handful of random halves
of its training set, and λ maximises the correlation of summed effects with the outcomes of the
queries. All λ share one factorisation and one set of query gradients.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.ggn import GaussNewton, zero_curvature_error
from fastif.curvature.operator import FactoredOperator
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.per_example import compute_measure_gradients
from fastif.numerics.blocked_dot import pairwise_dots
from fastif.numerics.correlation import pearson
from fastif.solvers.gram import apply_factor, compute_gram_matrix
from fastif.solvers.solver import EkfacSolver

HalfSubset = Int[Tensor, " _"]

WHERE = "damping by retraining"

HALVES = 6
"""Default number of halves: 6 cost 0.4 % of the best agreement on average, 2 cost over 5 %."""

MIN_CORRELATION_GAP = 0.05
"""Difference in mean correlation with retraining below which two models are equivalent."""

PER_DECADE, DECADES = 4, 7
MAX_GRAM_ROWS = 4000
"""Largest number of factor rows; more are importance-sampled to this number.

With 3,000 of 45,000 the curve of a network on MNIST has its maximum at the same damping as with
12,000. 6,000 factor rows of whole examples moved it threefold.
"""

MAX_GRAM_BATCH_BYTES = 2**30
"""Memory for factor rows that are held while the others are streamed."""

Predictor = Callable[[float], Float[Tensor, "m e"]]
"""Function from λ to the summed effects [m e] of each half on each query."""


@dataclass(frozen=True)
class DampingSelection:
    """Selected damping, and the agreement with retraining of every damping tried.

    The damping is the argument of `with_damping` and the key `[curvature] damping`. It is added to
    the L2 penalty of training, so the effective λ = damping + penalty is at least the penalty.
    `curvature.with_damping(choice.damping)` is the selected operator.

    Attributes:
        damping: Damping with the highest agreement.
        rule: Name of the selection rule: `retraining`, or `spectrum` for a share of the largest
            eigenvalue, which measures no agreement.
        dampings: Dampings that were tried, ascending.
        agreement: Mean correlation over queries of predicted and real outcomes, for each damping;
            NaN where no query has one, and such a damping is never selected.
        penalty: L2 penalty of training, which is part of the curvature's diagonal.
        by_query: Correlation of each query at the selected damping; None where undefined.
        best_agreement: Mean correlation at the selected damping.
        effective_damping: Effective λ, damping + penalty.
        is_at_edge: Whether the maximum is at the first or last damping, so that a better one may
            lie outside of the grid. A damping of 0 is no edge.
    """

    damping: float
    rule: str
    dampings: tuple[float, ...]
    agreement: tuple[float, ...]
    penalty: float = 0.0
    by_query: tuple[float | None, ...] = ()

    @property
    def best_agreement(self) -> float:
        """Mean correlation with retraining at the selected damping."""
        return self.agreement[self.dampings.index(self.damping)]

    @property
    def effective_damping(self) -> float:
        """Effective λ of the operator: damping + L2 penalty of training."""
        return self.damping + self.penalty

    @property
    def is_at_edge(self) -> bool:
        """Whether the maximum is at an edge of the grid, where a better damping may lie outside."""
        is_last, is_first = self.damping == self.dampings[-1], self.damping == self.dampings[0] > 0
        return len(self.dampings) > 1 and (is_last or is_first)


def sample_halves(count: int, halves: int, seed: int) -> list[HalfSubset]:
    """Random halves of `count` positions, each in ascending order.

    Examples:
        >>> [half.tolist() for half in sample_halves(4, 2, seed=0)]
        [[0, 1], [0, 2]]
    """
    generator = torch.Generator().manual_seed(seed)
    permutations = (torch.randperm(count, generator=generator) for _ in range(halves))
    return [permutation[: count // 2].sort().values for permutation in permutations]


def select_damping_by_retraining(
    curvature: GaussNewton,
    queries: Examples,
    halves: Sequence[HalfSubset],
    outcomes: Float[Tensor, "m e"],
    *,
    approximate: EkfacSolver | None = None,
) -> DampingSelection:
    """Select the damping with the best agreement of summed effects with retraining on halves.

        agreement(λ) = mean over z of corr over S (Σ_{i∈S} ∇L(z)ᵀ (G + λI)⁻¹ ∇L(i), outcome_S(z))

    with Pearson correlations, queries z and halves S of the training set: a linear datamodeling
    score (Park et al., 2023) with few subsets. λ = damping + penalty is at least the L2 penalty of
    the curvature's objective.

    Args:
        curvature: Gauss-Newton matrix G at the trained weights, over the training set or a sample.
        queries: Queries, e of them.
        halves: Positions of the training rows of each of the m retrained models.
        outcomes: Outcomes [m e] of the queries under these models, higher is better, such as
            `margins`.
        approximate: Solver of an EK-FAC curvature for which the damping is selected; the best
            damping differs from that of the exact G.

    Raises:
        InputError: There are fewer than two halves, the outcomes have another shape, the curvature
            is zero, or no damping has a correlation, as when outcomes do not vary.
    """
    _check_outcomes(halves, queries, outcomes)
    sums = _sum_gradients(curvature, halves)
    query_gradients = compute_measure_gradients(curvature.gradients, queries)
    if approximate is None:
        predict, max_eigenvalue = _make_gram_predictor(curvature, sums, query_gradients)
    else:
        predict, max_eigenvalue = _make_ekfac_predictor(
            curvature, sums, query_gradients, approximate
        )
    if not max_eigenvalue > 0:
        raise zero_curvature_error(WHERE)
    penalty = curvature.ridge
    dampings = _make_grid(max_eigenvalue, penalty)
    outcomes_by_query = outcomes.T.to(sums)
    # NaN for a query with equal outcomes under all models; nanmean ignores it
    correlations = [
        pearson(predict(damping + penalty).T, outcomes_by_query) for damping in dampings
    ]
    curve = [float(per_query.nanmean()) for per_query in correlations]
    best = _find_highest(curve)
    by_query = tuple(
        correlation if math.isfinite(correlation) else None
        for correlation in correlations[best].tolist()
    )
    return DampingSelection(dampings[best], "retraining", dampings, tuple(curve), penalty, by_query)


def find_clearly_worse(choices: Sequence[DampingSelection]) -> list[int]:
    """Find models with a significantly lower agreement with retraining than the best model.

    Gaps to the best are paired by query, on the same halves and outcomes. A model is worse if its
    mean gap exceeds both `MIN_CORRELATION_GAP` and two standard errors over the queries. An
    ensemble with such a model predicts worse than the best model alone. Selections without
    correlations by query are ignored.

    Args:
        choices: Selection of each model, from the same retrained models.

    Returns:
        Positions of the worse models in `choices`.

    Examples:
        >>> good, bad = (
        ...     DampingSelection(1.0, "", (1.0,), (r,), 0.0, (r, r + 0.02)) for r in (0.6, 0.4)
        ... )
        >>> find_clearly_worse([bad, good, good])
        [0]
    """
    if len({len(choice.by_query) for choice in choices}) != 1 or not choices[0].by_query:
        return []
    table = [
        [math.nan if correlation is None else correlation for correlation in choice.by_query]
        for choice in choices
    ]
    correlations = torch.tensor(table, dtype=torch.float64)
    best = max(range(len(choices)), key=lambda position: choices[position].best_agreement)
    worse = []
    for position in range(len(choices)):
        gaps = (correlations[best] - correlations[position])[
            torch.isfinite(correlations[best] - correlations[position])
        ]
        error = float(gaps.std(correction=0)) / math.sqrt(max(1, len(gaps) - 1))
        if len(gaps) > 1 and float(gaps.mean()) > max(MIN_CORRELATION_GAP, 2 * error):
            worse.append(position)
    return worse


def _make_grid(max_eigenvalue: float, penalty: float) -> tuple[float, ...]:
    """Dampings beyond a penalty, with λ on a logarithmic grid and none below the penalty.

    Examples:
        >>> [round(damping, 2) for damping in _make_grid(1.0, 4.0)]
        [0.0, 1.62, 6.0]
    """
    steps = torch.arange(-PER_DECADE * (DECADES - 1), PER_DECADE + 1) / PER_DECADE
    effective = [max_eigenvalue * 10.0 ** float(step) for step in steps]
    dampings = tuple(value - penalty for value in effective if value > penalty)
    return dampings if effective[0] > penalty else (0.0, *dampings)


def _check_outcomes(halves: Sequence[HalfSubset], queries: Examples, outcomes: Tensor) -> None:
    if len(halves) < 2 or outcomes.shape != (len(halves), len(queries)):
        raise InputError(
            WHERE,
            "two halves or more, and one outcome of every query for each half",
            f"{len(halves)} halves, outcomes {tuple(outcomes.shape)}, {len(queries)} queries",
            f"Train on {HALVES} halves and compute the outcome of every query with each model.",
        )


def _find_highest(curve: Sequence[float]) -> int:
    """Index of the maximum of the finite entries."""
    finite = [position for position, agreement in enumerate(curve) if math.isfinite(agreement)]
    if not finite:
        raise InputError(
            WHERE,
            "queries with finite outcomes that differ from half to half",
            "no correlation at any damping",
            "Check the outcomes of the queries; use other queries, or set the damping as a number.",
        )
    return max(finite, key=curve.__getitem__)


def _sum_gradients(curvature: GaussNewton, halves: Sequence[HalfSubset]) -> Float[Tensor, "m p"]:
    """Summed loss gradients Σ_{i∈S} ∇L(i) of every half S, in one pass."""
    examples, gradients = curvature.examples, curvature.gradients
    membership = torch.zeros(len(halves), len(examples))
    for row, half in zip(membership, halves, strict=True):
        row[half] = 1
    sums = curvature.like.new_zeros(len(halves), curvature.size)
    for positions, batch in examples.batches():
        gradients.compute_loss_tile(batch).accumulate(sums, membership[:, positions].to(sums))
    return sums


def _make_gram_predictor(
    curvature: GaussNewton, sums: Tensor, query_gradients: Tensor
) -> tuple[Predictor, float]:
    """Predictor with the exact inverse for all λ, by an eigendecomposition of the Gram matrix."""
    sampled = _sample_factor_rows(curvature, MAX_GRAM_ROWS)
    example_bytes = sampled.rows_per_example * sampled.size * sampled.like.element_size()
    held_batches = max(1, MAX_GRAM_BATCH_BYTES // (example_bytes * sampled.batch_size))
    values, vectors = torch.linalg.eigh(compute_gram_matrix(sampled, held_batches).double())
    values = values.clamp_min(0) / sampled.count
    half_coefficients, query_coefficients = (
        apply_factor(sampled, matrix) @ vectors for matrix in (sums, query_gradients)
    )
    direct = pairwise_dots(sums, query_gradients).double()

    def predict(damping: float) -> Tensor:
        correction = (
            half_coefficients / (sampled.count * (values + damping))
        ) @ query_coefficients.T
        return ((direct - correction) / damping).to(sums)

    return predict, float(values[-1])


def _sample_factor_rows(curvature: GaussNewton, max_rows: int) -> FactoredOperator:
    """The curvature, or importance-sampled factor rows of it if it has more than `max_rows`."""
    is_larger = curvature.count * curvature.rows_per_example > max_rows
    return SampledGaussNewton.from_curvature(curvature, max_rows) if is_larger else curvature


def _make_ekfac_predictor(
    curvature: GaussNewton, sums: Tensor, query_gradients: Tensor, solver: EkfacSolver
) -> tuple[Predictor, float]:
    ekfac = solver.fit_ekfac(curvature)
    max_eigenvalue = float(ekfac.eigenvalues.max())
    return lambda damping: pairwise_dots(
        ekfac.apply_inverse(sums, damping), query_gradients
    ), max_eigenvalue
