"""Choice of the estimator by agreement with retraining on a few random half-subsets.

No estimator is best everywhere. On SST-2 with MiniLM the effects at an early checkpoint predict
retraining far better than those at the final weights, on a network on MNIST far worse. Retraining
on a handful of halves measures it on the user's own model; a choice that is not clearly better than
a simpler one takes the simpler one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from fastif.errors import InputError
from fastif.evaluation.estimator import (
    COSINE,
    UNROLLED,
    Estimator,
    normalize_effects,
)
from fastif.evaluation.retraining_predictor import HalfSubset, make_membership
from fastif.evaluation.row_effects import RowEffects, combine_row_effects, measure_norms
from fastif.evaluation.select_damping import measure_agreement

POWERS = (0.0, 0.5, 1.0)
"""Powers of the norm that are tried."""

MIN_GAIN = 0.01
"""Least gain in agreement for which a more complex estimator is chosen."""

QUERY_ERRORS = 1.0
"""Standard errors over the queries that a gain has to exceed (Breiman et al., 1984).

Chosen among nine such rules by the mean LDS of the selection over ten draws of six halves: SST-2
0.758 of 0.763 for the best estimator, Titanic 0.844 of 0.846, NoisyAG-News 0.939 of 0.941. A bound
of one jackknife standard error over the halves too gave 0.736, 0.841 and 0.938, of two 0.673, 0.822
and 0.889: six halves are too few for it.
"""

MEAN_SIZE = 2
"""Number of models in a mean of some models; the mean of all is tried too."""

WHERE = "estimator by retraining"


@dataclass(frozen=True)
class EstimatorTrial:
    """Agreement of one estimator with retraining.

    Attributes:
        estimator: Estimator that was tried.
        agreement: Correlation of predicted and real outcomes over the halves, mean over queries.
        low: Lower bound of the 95 % interval (t interval of the jackknife over halves).
        high: Upper bound of that interval.
    """

    estimator: Estimator
    agreement: float
    low: float
    high: float


@dataclass(frozen=True)
class EstimatorSelection:
    """Selected estimator, and the agreement of all that were tried.

    Attributes:
        estimator: Selected estimator.
        trials: Estimators that were tried, the simpler ones first.
        held_out: Agreement of the selection itself: each half is predicted by the estimator
            that the other halves select.
        low: Lower bound of the 95 % interval of `held_out`, over the halves.
        high: Upper bound of that interval.
        halves: Number of halves.
        queries: Number of queries.
    """

    estimator: Estimator
    trials: tuple[EstimatorTrial, ...]
    held_out: float
    low: float
    high: float
    halves: int
    queries: int

    @property
    def chosen(self) -> EstimatorTrial:
        """Trial of the selected estimator."""
        return next(trial for trial in self.trials if trial.estimator == self.estimator)

    @property
    def simplest(self) -> EstimatorTrial:
        """Trial of the simplest estimator: removal effects of the first model."""
        return self.trials[0]


def list_estimators(
    dampings: Sequence[float],
    checkpoints: int = 0,
    base: Sequence[int] = (0,),
    powers: Sequence[float] = POWERS,
    *,
    unrolled: bool = False,
) -> list[Estimator]:
    """List the estimators to try, the simpler ones first.

    These are the mean over the base models, single checkpoints, means of two and the mean of all,
    each with every power, and the gradient cosine at the first model and at each checkpoint.

    Args:
        dampings: Selected damping of each model; the checkpoints come last.
        checkpoints: Number of checkpoints among the models.
        base: Positions of the models whose mean is the simplest estimator.
        powers: Powers of the norm to try.
        unrolled: Whether to try effects through the training of the first model.

    Examples:
        >>> estimators = list_estimators([0.1, 0.2], 1, powers=[0.0, 1.0])
        >>> [(e.models, e.power) for e in estimators if e.kind == "influence"]
        [((0,), 0.0), ((0,), 1.0), ((1,), 0.0), ((1,), 1.0), ((0, 1), 0.0), ((0, 1), 1.0)]
    """
    count, base = len(dampings), tuple(base)
    earlier = range(count - checkpoints, count)
    candidates = (*base, *earlier) if len(base) == 1 else tuple(earlier)
    subsets = [base, *((model,) for model in earlier), *combinations(candidates, MEAN_SIZE)]
    subsets += [candidates] if len(candidates) > MEAN_SIZE else []
    influence = [
        Estimator(subset, tuple(dampings[model] for model in subset), power)
        for subset in subsets
        for power in powers
    ]
    cosine = [Estimator((model,), (dampings[model],), 1.0, COSINE) for model in (0, *earlier)]
    through = [Estimator((0,), (dampings[0],), power, UNROLLED) for power in powers if unrolled]
    every = [*influence, *(cosine if any(powers) else []), *through]
    return sorted(every, key=lambda estimator: estimator.rate_complexity(base))


def predict_outcomes(
    estimator: Estimator, models: Sequence[RowEffects], halves: Sequence[HalfSubset]
) -> Float[Tensor, "m e"]:
    """Predict the outcome of each query under a retraining on each half, up to a linear map.

    Args:
        estimator: Estimator of the effects.
        models: Row effects of each model on the e queries.
        halves: Positions of the training rows of each retrained model.
    """
    scores = score_rows(estimator, models).double()
    return make_membership(halves, scores.shape[1]).to(scores) @ scores.T


def score_rows(estimator: Estimator, models: Sequence[RowEffects]) -> Float[Tensor, "e n"]:
    """Return the ranking scores of all rows on the control queries."""
    if estimator.kind == COSINE:
        return models[estimator.models[0]].cosines
    effects = combine_row_effects(estimator, models)
    return normalize_effects(effects, measure_norms(effects), estimator.power)


def select_estimator(
    estimators: Sequence[Estimator],
    predictions: Sequence[Float[Tensor, "m e"]],
    outcomes: Float[Tensor, "m e"],
) -> EstimatorSelection:
    """Select the estimator with the best agreement of summed scores with retraining on halves.

        agreement = mean over z of corr over S (Σ_{i∈S} score[z, i], outcome_S(z))

    A linear datamodeling score (Park et al., 2023) with few subsets. From the simplest estimator
    on, a more complex one replaces it if its gain exceeds `MIN_GAIN` and a standard error over the
    queries. Intervals are over the halves, by the jackknife (Efron and Stein, 1981).

    Args:
        estimators: Estimators, the simplest first.
        predictions: Predicted outcomes [m e] of each, up to a linear map.
        outcomes: Real outcomes [m e] of the queries under the retrained models.

    Raises:
        InputError: There are fewer than three halves, or no estimator has a correlation.
    """
    if len(outcomes) < 3:
        raise InputError(
            WHERE, "three halves or more", f"{len(outcomes)}", "Retrain the model on more halves."
        )
    trials = [
        _try_estimator(estimator, predicted, outcomes)
        for estimator, predicted in zip(estimators, predictions, strict=True)
    ]
    every_half = list(range(len(outcomes)))
    place = _select(estimators, predictions, outcomes, every_half)
    held_out, low, high = _cross_validate(estimators, predictions, outcomes)
    return EstimatorSelection(
        estimators[place], tuple(trials), held_out, low, high, *outcomes.shape
    )


def _try_estimator(estimator: Estimator, predicted: Tensor, outcomes: Tensor) -> EstimatorTrial:
    mean = float(measure_agreement(predicted, outcomes).nanmean())
    leave_one_out = [
        float(measure_agreement(predicted[kept], outcomes[kept]).nanmean())
        for kept in _leave_each_out(len(outcomes))
    ]
    return EstimatorTrial(estimator, mean, *_interval(mean, leave_one_out))


def _select(
    estimators: Sequence[Estimator],
    predictions: Sequence[Tensor],
    outcomes: Tensor,
    halves: Sequence[int],
) -> int:
    """Return the position of the estimator that some of the halves select."""
    by_query = [measure_agreement(p[halves], outcomes[halves]) for p in predictions]
    means = [float(correlations.nanmean()) for correlations in by_query]
    finite = [place for place, mean in enumerate(means) if math.isfinite(mean)]
    if not finite:
        raise InputError(
            WHERE,
            "queries with finite outcomes that differ from half to half",
            "no correlation with any estimator",
            "Check the outcomes of the queries; use other queries.",
        )
    best = finite[0]
    base = estimators[0].models
    levels = {place: estimators[place].rate_complexity(base) for place in finite}
    for complexity in sorted(set(levels.values())):
        level = [place for place in finite if levels[place] == complexity]
        rival = max(level, key=means.__getitem__)
        if rival != best and _is_clearly_better(by_query[rival], by_query[best]):
            best = rival
    return best


def _is_clearly_better(rival: Tensor, best: Tensor) -> bool:
    """Return whether the correlations of a rival exceed those of the best by more than chance."""
    gaps = (rival - best)[torch.isfinite(rival - best)]
    if len(gaps) < 2:
        return False
    error = float(gaps.std()) / math.sqrt(len(gaps))
    return float(gaps.mean()) > max(MIN_GAIN, QUERY_ERRORS * error)


def _cross_validate(
    estimators: Sequence[Estimator], predictions: Sequence[Tensor], outcomes: Tensor
) -> tuple[float, float, float]:
    """Return the agreement of predictions of each half by the selection of the others.

    Predictions are standardised by query, since those of different estimators differ in unit.
    """
    count = len(outcomes)
    standardised = [
        ((p - p.mean(0)) / p.std(0).clamp_min(torch.finfo(p.dtype).tiny)) for p in predictions
    ]
    held_out = torch.stack(
        [
            standardised[_select(estimators, predictions, outcomes, kept)][half]
            for half, kept in enumerate(_leave_each_out(count))
        ]
    )
    trial = _try_estimator(estimators[0], held_out, outcomes)
    return trial.agreement, trial.low, trial.high


def _leave_each_out(count: int) -> list[list[int]]:
    return [[place for place in range(count) if place != left] for left in range(count)]


def _jackknife_error(leave_one_out: Sequence[float]) -> float:
    """Return the jackknife standard error of a statistic from its leave-one-out values."""
    values = torch.tensor(leave_one_out, dtype=torch.float64)
    count = len(values)
    return math.sqrt((count - 1) / count * float((values - values.mean()).square().sum()))


def _interval(mean: float, leave_one_out: Sequence[float]) -> tuple[float, float]:
    error = _jackknife_error(leave_one_out)
    half = float(stats.t.ppf(0.975, len(leave_one_out) - 1)) * error
    return max(-1.0, mean - half), min(1.0, mean + half)
