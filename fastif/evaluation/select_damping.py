"""Choosing λ from the study itself: by what retraining on a few half-subsets shows.

The best λ differs a hundredfold between ordinary models, and neither the curvature nor the loss
tells it: rules made from them miss it (docs/concepts.md). What tells it is the quantity that
effects are to predict. So the model is trained again on a handful of random halves of its training
set, and λ is taken where the effects of the rows left in, summed, go best with what happened to the
queries. The halves are solved for all λ at once, and share one set of query gradients.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton, no_curvature
from fastif.curvature.operator import Rooted
from fastif.curvature.sampled_ggn import Drawn
from fastif.data.examples import Examples, batches, every
from fastif.errors import InputError
from fastif.gradients.per_example import measure_rows
from fastif.numerics.blocked_dot import inner_products
from fastif.numerics.correlation import pearson
from fastif.solvers.gram import kernel_matrix, project
from fastif.solvers.spectral import Spectral

Subset = Int[Tensor, " _"]

WHERE = "damping by retraining"

HALVES = 6
"""With 6 the λ found costs 0.4 % of the best agreement on average over draws, with 2 over 5 %."""

LEAST_GAP = 0.05
"""In the mean correlation with retraining, below which two models are as good as each other."""

PER_DECADE, DECADES = 4, 7
LARGEST_KERNEL = 4000
"""Root rows: of more than these so many are drawn. With 3,000 of 45,000 the curve of a network on
MNIST has the same highest point as with 12,000; 6,000 rows of whole examples moved it threefold."""

HELD_BYTES = 2**30
"""Root rows that are held while the others pass by."""

Predict = Callable[[float], Float[Tensor, "m e"]]
"""From λ to the summed effects of each half on each query."""


@dataclass(frozen=True)
class DampingChoice:
    """The λ that was chosen, and the curve it was chosen from.

    A damping here is what `LinearOperator.damped` and `[curvature] damping` take: it comes on top
    of the L2 penalty of training, so that the effective λ = damping + penalty is never below the
    penalty. `curvature.damped(choice.damping)` is the operator that was chosen.

    Attributes:
        damping: where the curve is highest.
        rule: how, in a word.
        dampings: those that were tried, ascending.
        agreement: mean correlation over queries of predicted and real outcomes, for each of them;
            NaN where no query has one, which is never chosen.
        penalty: what training itself added to the diagonal.
        by_query: the correlation of each query at the highest point; None where it has none.
        best: their mean, the agreement with retraining.
        effective: the λ that was chosen, penalty and all.
        at_edge: the highest point is the first or the last, so a better λ may lie outside. Below a
            damping of 0 there is none.
    """

    damping: float
    rule: str
    dampings: tuple[float, ...]
    agreement: tuple[float, ...]
    penalty: float = 0.0
    by_query: tuple[float | None, ...] = ()

    @property
    def best(self) -> float:
        """The agreement with retraining where it is highest."""
        return self.agreement[self.dampings.index(self.damping)]

    @property
    def effective(self) -> float:
        """The λ of the operator: the damping and the penalty of training."""
        return self.damping + self.penalty

    @property
    def at_edge(self) -> bool:
        """Whether the curve still rises where it ends."""
        return self.damping == self.dampings[-1] or self.damping == self.dampings[0] > 0


def half_subsets(count: int, halves: int, seed: int) -> list[Subset]:
    """Random halves of `count` rows, each in ascending order.

    >>> [half.tolist() for half in half_subsets(4, 2, seed=0)]
    [[0, 1], [0, 2]]
    """
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randperm(count, generator=generator) for _ in range(halves))
    return [draw[: count // 2].sort().values for draw in draws]


def damping_by_retraining(
    curvature: GaussNewton,
    asked: Examples,
    halves: Sequence[Subset],
    outcomes: Float[Tensor, "m e"],
    *,
    approximate: Spectral | None = None,
) -> DampingChoice:
    """The λ at which summed effects agree best with models trained on the halves.

    For half S and query z the prediction is Σ_{i∈S} ∇L(z)ᵀ (G + λI)⁻¹ ∇L_i, up to a factor, where
    λ = damping + penalty is never below the L2 penalty of the curvature's objective. The agreement
    is the mean over queries of its Pearson correlation with `outcomes` over the halves.

    Args:
        curvature: G at the weights in question, over the training set or a sample of it.
        asked: the e queries that were judged.
        halves: training rows of each of the m models.
        outcomes: of the queries under these models, the higher the better (margins).
        approximate: find the λ for this solver's EK-FAC; another one than for the exact G.

    Raises:
        InputError: fewer than two halves, or outcomes that do not fit; the curvature is zero; or no
            λ has a correlation, as when nothing happened to any query.
    """
    _check(halves, asked, outcomes)
    sums = _summed_gradients(curvature, halves)
    rows = measure_rows(curvature.gradients, asked, every(asked), curvature.batch_size)
    if approximate is None:
        predict, top = _by_kernel(curvature, sums, rows)
    else:
        predict, top = _by_ekfac(curvature, sums, rows, approximate)
    if not top > 0:
        raise no_curvature(WHERE)
    penalty = curvature.ridge
    dampings = _grid(top, penalty)
    real = outcomes.T.to(sums)
    # a query that nothing happened to says nothing of λ
    each = [pearson(predict(d + penalty).T, real) for d in dampings]
    curve = [float(one.nanmean()) for one in each]
    best = _highest(curve)
    by_query = tuple(one if math.isfinite(one) else None for one in each[best].tolist())
    return DampingChoice(dampings[best], "retraining", dampings, tuple(curve), penalty, by_query)


def clearly_worse(choices: Sequence[DampingChoice]) -> list[int]:
    """Which models agree clearly less with retraining than the best of them.

    The gap to the best is taken query by query, on the same halves and outcomes. It is clear where
    its mean exceeds both `LEAST_GAP` and two standard errors over the queries. A mean over models
    that includes such a one foretells less than the best alone. A choice without correlations by
    query says nothing.

    Args:
        choices: of each model, by the same retrainings.

    >>> good, bad = (DampingChoice(1.0, "", (1.0,), (r,), 0.0, (r, r + 0.02)) for r in (0.6, 0.4))
    >>> clearly_worse([bad, good, good])
    [0]
    """
    if len({len(choice.by_query) for choice in choices}) != 1 or not choices[0].by_query:
        return []
    rows = [[math.nan if one is None else one for one in choice.by_query] for choice in choices]
    each = torch.tensor(rows, dtype=torch.float64)
    best = max(range(len(choices)), key=lambda place: choices[place].best)
    found = []
    for place in range(len(choices)):
        gaps = (each[best] - each[place])[torch.isfinite(each[best] - each[place])]
        error = float(gaps.std(correction=0)) / math.sqrt(max(1, len(gaps) - 1))
        if len(gaps) > 1 and float(gaps.mean()) > max(LEAST_GAP, 2 * error):
            found.append(place)
    return found


def _grid(top: float, penalty: float) -> tuple[float, ...]:
    """Dampings on top of a penalty, for λ evenly spaced in its logarithm; none below the penalty.

    >>> [round(damping, 2) for damping in _grid(1.0, 4.0)]
    [0.0, 1.62, 6.0]
    """
    steps = torch.arange(-PER_DECADE * (DECADES - 1), PER_DECADE + 1) / PER_DECADE
    effective = [top * 10.0 ** float(step) for step in steps]
    above = tuple(value - penalty for value in effective if value > penalty)
    return above if effective[0] > penalty else (0.0, *above)


def _check(halves: Sequence[Subset], asked: Examples, outcomes: Tensor) -> None:
    if len(halves) < 2 or outcomes.shape != (len(halves), len(asked)):
        raise InputError(
            WHERE,
            "two halves or more, and an outcome of every query for each",
            f"{len(halves)} halves, outcomes {tuple(outcomes.shape)}, {len(asked)} queries",
            f"Train on {HALVES} halves and judge every query with each model.",
        )


def _highest(curve: Sequence[float]) -> int:
    """Where the curve is highest, of the places where it is a number at all."""
    known = [place for place, agreement in enumerate(curve) if math.isfinite(agreement)]
    if not known:
        raise InputError(
            WHERE,
            "queries with finite outcomes that differ from half to half",
            "no correlation at any damping",
            "Look at the outcomes of the queries; ask others, or set the damping as a number.",
        )
    return max(known, key=curve.__getitem__)


def _summed_gradients(curvature: GaussNewton, halves: Sequence[Subset]) -> Float[Tensor, "m p"]:
    """Σ_{i∈S} ∇L_i for every half S, in one pass."""
    examples, gradients = curvature.examples, curvature.gradients
    inside = torch.zeros(len(halves), len(examples))
    for row, half in zip(inside, halves, strict=True):
        row[half] = 1
    sums = curvature.like.new_zeros(len(halves), curvature.size)
    for places, batch in batches(examples, every(examples), curvature.batch_size):
        gradients.of_losses(batch).add_to(sums, inside[:, places].to(sums))
    return sums


def _by_kernel(curvature: GaussNewton, sums: Tensor, rows: Tensor) -> tuple[Predict, float]:
    """The exact inverse for all λ at once, by the eigenvectors of the kernel of root rows."""
    sampled = _at_most(curvature, LARGEST_KERNEL)
    example = sampled.columns * sampled.size * sampled.like.element_size()
    held = max(1, HELD_BYTES // (example * sampled.batch_size))
    values, vectors = torch.linalg.eigh(kernel_matrix(sampled, held).double())
    values = values.clamp_min(0) / sampled.count
    halves, asked = (project(sampled, part) @ vectors for part in (sums, rows))
    direct = inner_products(sums, rows).double()

    def predict(damping: float) -> Tensor:
        inner = (halves / (sampled.count * (values + damping))) @ asked.T
        return ((direct - inner) / damping).to(sums)

    return predict, float(values[-1])


def _at_most(curvature: GaussNewton, rows: int) -> Rooted:
    """The curvature itself, or root rows drawn from it where it has more."""
    many = curvature.count * curvature.columns > rows
    return Drawn.of(curvature, rows) if many else curvature


def _by_ekfac(
    curvature: GaussNewton, sums: Tensor, rows: Tensor, solver: Spectral
) -> tuple[Predict, float]:
    ekfac = Ekfac.fit(curvature, labels=solver.labels, seed=solver.seed)
    top = float(ekfac.eigenvalues.max())
    return lambda damping: inner_products(ekfac.inverse(sums, damping), rows), top
