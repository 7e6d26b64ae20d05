"""Choosing λ from the study itself: by what retraining on a few half-subsets shows.

The best λ differs a hundredfold between ordinary models, and neither the curvature nor the loss
tells it: rules made from them miss it (docs/concepts/damping.md). What tells it is the quantity
that effects are to predict. So the model is trained again on some random halves of its training
set, and λ is taken where the effects of the rows left in, summed, go best with what happened to the
queries. The halves are solved for all λ at once, and share one set of query gradients.
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
"""With 6 the λ found costs 0.4 % of the best agreement on average over draws, with 2 over 5 %."""

MIN_CORRELATION_GAP = 0.05
"""In the mean correlation with retraining, below which two models are as good as each other."""

PER_DECADE, DECADES = 4, 7
MAX_GRAM_ROWS = 4000
"""Root rows: of more than these so many are drawn. With 3,000 of 45,000 the curve of a network on
MNIST has the same highest point as with 12,000; 6,000 rows of whole examples moved it threefold."""

MAX_GRAM_BATCH_BYTES = 2**30
"""Root rows that are held while the others pass by."""

Predictor = Callable[[float], Float[Tensor, "m e"]]
"""From λ to the summed effects of each half on each query."""


@dataclass(frozen=True)
class DampingSelection:
    """The λ that was chosen, and the curve it was chosen from.

    A damping here is what `LinearOperator.with_damping` and `[curvature] damping` take: it comes on
    top of the L2 penalty of training, so that the effective λ = damping + penalty is never below
    the penalty. `curvature.with_damping(choice.damping)` is the operator that was chosen.

    Attributes:
        damping: where the curve is highest.
        rule: how, in a word.
        dampings: those that were tried, ascending.
        agreement: mean correlation over queries of predicted and real outcomes, for each of them;
            NaN where no query has one, which is never chosen.
        penalty: what training itself added to the diagonal.
        by_query: the correlation of each query at the highest point; None where it has none.
        best_agreement: their mean, the agreement with retraining.
        effective_damping: the λ that was chosen, penalty and all.
        is_at_edge: the highest point is the first or the last, so a better λ may lie outside. Below
            a damping of 0 there is none.
    """

    damping: float
    rule: str
    dampings: tuple[float, ...]
    agreement: tuple[float, ...]
    penalty: float = 0.0
    by_query: tuple[float | None, ...] = ()

    @property
    def best_agreement(self) -> float:
        """The agreement with retraining where it is highest."""
        return self.agreement[self.dampings.index(self.damping)]

    @property
    def effective_damping(self) -> float:
        """The λ of the operator: the damping and the penalty of training."""
        return self.damping + self.penalty

    @property
    def is_at_edge(self) -> bool:
        """Whether the curve still rises where it ends."""
        return self.damping == self.dampings[-1] or self.damping == self.dampings[0] > 0


def sample_halves(count: int, halves: int, seed: int) -> list[HalfSubset]:
    """Random halves of `count` rows, each in ascending order.

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
    """The λ at which summed effects agree best with models trained on the halves.

    For half S and query z the prediction is Σ_{i∈S} ∇L(z)ᵀ (G + λI)⁻¹ ∇L_i, up to a factor, where
    λ = damping + penalty is never below the L2 penalty of the curvature's objective. The agreement
    is the mean over queries of its Pearson correlation with `outcomes` over the halves.

    Args:
        curvature: G at the weights in question, over the training set or a sample of it.
        queries: the e queries that were judged.
        halves: training rows of each of the m models.
        outcomes: of the queries under these models, the higher the better (margins).
        approximate: find the λ for this solver's EK-FAC; another one than for the exact G.

    Raises:
        InputError: fewer than two halves, or outcomes that do not fit; the curvature is zero; or no
            λ has a correlation, as when nothing happened to any query.
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
    # a query that nothing happened to says nothing of λ
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
    """Which models agree clearly less with retraining than the best of them.

    The gap to the best is taken query by query, on the same halves and outcomes. It is clear where
    its mean exceeds both `MIN_CORRELATION_GAP` and two standard errors over the queries. A mean
    over models that includes such a one foretells less than the best alone. A choice without
    correlations by query says nothing.

    Args:
        choices: of each model, by the same retrainings.

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
    """Dampings on top of a penalty, for λ evenly spaced in its logarithm; none below the penalty.

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
            "two halves or more, and an outcome of every query for each",
            f"{len(halves)} halves, outcomes {tuple(outcomes.shape)}, {len(queries)} queries",
            f"Train on {HALVES} halves and judge every query with each model.",
        )


def _find_highest(curve: Sequence[float]) -> int:
    """Where the curve is highest, of the places where it is a number at all."""
    finite = [position for position, agreement in enumerate(curve) if math.isfinite(agreement)]
    if not finite:
        raise InputError(
            WHERE,
            "queries with finite outcomes that differ from half to half",
            "no correlation at any damping",
            "Look at the outcomes of the queries; ask others, or set the damping as a number.",
        )
    return max(finite, key=curve.__getitem__)


def _sum_gradients(curvature: GaussNewton, halves: Sequence[HalfSubset]) -> Float[Tensor, "m p"]:
    """Σ_{i∈S} ∇L_i for every half S, in one pass."""
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
    """The exact inverse for all λ at once, by the eigenvectors of the kernel of root rows."""
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
    """The curvature itself, or root rows drawn from it where it has more."""
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
