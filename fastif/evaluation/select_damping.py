"""Choice of the damping λ by agreement with retraining on a few random half-subsets.

The best λ differs a hundredfold between ordinary models. Rules from the curvature or the loss do
not predict it; agreement with retraining does. The model is retrained on a handful of random halves
of its training set, and λ maximises the correlation of summed effects with the outcomes of the
queries. All λ share one factorisation and one set of query gradients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ggn import GaussNewton, zero_curvature_error
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.evaluation.retraining_predictor import HalfSubset, RetrainingPredictor
from fastif.gradients.per_example import compute_measure_gradients
from fastif.numerics.correlation import pearson
from fastif.solvers.solver import EkfacSolver, Factor

WHERE = "damping by retraining"

HALVES = 6
"""Default number of halves: 6 cost 0.4 % of the best agreement on average, 2 cost over 5 %."""

MIN_CORRELATION_GAP = 0.05
"""Difference in mean correlation with retraining below which two models are equivalent."""

PER_DECADE, DECADES = 4, 7


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
    factor: Factor | None = None,
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
        factor: Factor of the dual solver, see `RetrainingPredictor.from_curvature`.

    Raises:
        InputError: There are fewer than two halves, the outcomes have another shape, the curvature
            is zero, or no damping has a correlation, as when outcomes do not vary.
    """
    check_outcomes(halves, queries, outcomes)
    query_gradients = compute_measure_gradients(curvature.gradients, queries)
    predictor = RetrainingPredictor.from_curvature(
        curvature, query_gradients, halves, approximate, factor
    )
    return select_damping(predictor, outcomes, curvature.ridge)


def select_damping(
    predictor: RetrainingPredictor, outcomes: Float[Tensor, "m e"], penalty: float
) -> DampingSelection:
    """Select the damping of a predictor by its agreement with the outcomes of retraining.

    Args:
        predictor: Predicted outcomes of the m subsets on the e queries, for any λ.
        outcomes: Outcomes [m e] of the queries under the retrained models, higher is better.
        penalty: L2 penalty of training, the least effective λ.

    Raises:
        InputError: The curvature is zero, or no damping has a correlation.
    """
    if not predictor.max_eigenvalue > 0:
        raise zero_curvature_error(WHERE)
    dampings = _make_grid(predictor.max_eigenvalue, penalty)
    # NaN for a query with equal outcomes under all models; nanmean ignores it
    correlations = [
        measure_agreement(predictor.predict(damping + penalty), outcomes) for damping in dampings
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


def measure_agreement(
    predicted: Float[Tensor, "m e"], outcomes: Float[Tensor, "m e"]
) -> Float[Tensor, " e"]:
    """Measure Pearson's correlation over the subsets of each query; NaN if either is constant."""
    return pearson(predicted.T, outcomes.T.to(predicted))


def check_outcomes(halves: Sequence[HalfSubset], queries: Examples, outcomes: Tensor) -> None:
    """Refuse outcomes of another shape than halves x queries.

    Raises:
        InputError: The shapes differ, or there are fewer than two halves.
    """
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
