"""Outlying targets of a regression: out-of-fold residuals in units of a conditional spread."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.errors import InputError
from fastif.mislabels.conditional_spread import estimate_spread
from fastif.mislabels.error_mixture import fit_error_mixture
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.labeled_data import find_infinite_row
from fastif.mislabels.robust_ridge import RobustRidge, compute_quantiles, compute_spread

SELF_INFLUENCE_PENALTY = 1e-3
"""Penalty of the ridge head whose self-influence is reported."""
POOL_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidate weights of the neighbours' median in the prediction."""
INTERVAL = (0.05, 0.95)
"""Quantiles of the interval of a suggested value."""
EQUAL = 1e-9
"""Difference from a reviewed value, relative to the spread, up to which a target equals it."""


@dataclass(frozen=True, eq=False)
class NumberData:
    """Rows whose target is a number.

    Attributes:
        features: Features of n rows, [n, d].
        targets: Given targets, in double precision, [n].
        groups: Group of each row, [n]; rows of a group, such as near-duplicates, share a fold.
        known: Reviewed targets, NaN for the other rows, [n]; None without reviews.

    Raises:
        InputError: A feature or target is not finite, or all targets are equal.
    """

    features: Float[Tensor, "n d"]
    targets: Float[Tensor, " n"]
    groups: Int[Tensor, " n"] | None = None
    known: Float[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        bad = find_infinite_row(self.features)
        kind = "features"
        if bad is None and not bool(self.targets.isfinite().all()):
            kind, bad = "targets", int((~self.targets.isfinite()).nonzero()[0])
        if bad is not None:
            got = f"NaN or infinity in row {bad}"
            raise InputError("mislabels", f"finite {kind}", got, "Correct the row, or remove it.")
        if len(self.targets.unique()) < 2:
            raise InputError(
                "mislabels",
                "two or more distinct targets",
                f"one value in all {len(self.targets)} rows",
                "Outlying targets are detected by their differences: give rows with other values.",
            )

    @property
    def group_ids(self) -> Int[Tensor, " n"]:
        """Group of each row; row positions if no groups are given, [n]."""
        return torch.arange(len(self.targets)) if self.groups is None else self.groups

    @property
    def reviewed(self) -> Float[Tensor, " n"]:
        """Reviewed targets, NaN for the other rows, [n]."""
        return torch.full_like(self.targets, torch.nan) if self.known is None else self.known

    @property
    def is_reviewed(self) -> Bool[Tensor, " n"]:
        """Mask of reviewed rows, [n]."""
        return ~self.reviewed.isnan()

    @property
    def is_wrong(self) -> Bool[Tensor, " n"]:
        """Mask of reviewed rows whose given target differs from the reviewed one, [n]."""
        scale = self.targets.abs().clamp_min(self.reviewed.abs().nan_to_num(0.0))
        return (self.reviewed - self.targets).abs() > EQUAL * scale


@dataclass(frozen=True, eq=False)
class OutlyingTargets:
    """Outlying targets of n rows.

    Attributes:
        score: Posterior of an error in the mixture of `fit_error_mixture`, [n]; 0 or 1 for reviewed
            rows. No probability in itself: noise with heavy tails looks like errors.
        prior_score: Score before reviews of the row, [n].
        strength: Absolute out-of-fold residual in conditional standard deviations, [n].
        predicted: Out-of-fold conditional median, the suggested value, [n].
        low: Lower bound of the interval that 90 % of right targets are in, [n].
        high: Upper bound of this interval, [n].
        self_influence: Change of the row's own loss ½ r² if it is removed from a ridge head, in
            squared units of the target, [n].
        skill: Share of the mean absolute deviation from the median that the features explain.
        informed: Whether this share is better than chance.
        error_share: Share of errors in the mixture.
    """

    score: Float[Tensor, " n"]
    prior_score: Float[Tensor, " n"]
    strength: Float[Tensor, " n"]
    predicted: Float[Tensor, " n"]
    low: Float[Tensor, " n"]
    high: Float[Tensor, " n"]
    self_influence: Float[Tensor, " n"]
    skill: float
    informed: bool
    error_share: float


@dataclass(frozen=True)
class OutlierDetector:
    """Outlying targets by cross-fitted conditional medians and a conditional spread.

    1. Ridge regressions with Huber's loss are cross-fitted, and pooled with the median of each
       row's neighbours.
    2. The spread of the residuals is cross-fitted too, so that rows with noisy targets are not
       taken for errors (locally weighted conformal prediction; Lei et al., 2018). The two sides of
       the median have separate spreads.
    3. A mixture of Student's t and of the distribution of all targets yields the score.

    Reviewed rows have their reviewed target in every fit.

    Attributes:
        folds: Number of cross-fitting folds.
        repeats: Number of partitions into folds.
        neighbours: Number of neighbours of a row.
        seed: Random seed of the fold assignments.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import NumberData, OutlierDetector
        >>> x = torch.linspace(-1, 1, 60)[:, None]
        >>> y = 3 * x[:, 0].double() + 0.1 * (torch.arange(60) % 7 - 3)
        >>> y[9] = 3.0  # a wrong sign
        >>> result = OutlierDetector()(NumberData(x, y))
        >>> int(result.score.argmax()), bool(result.high[9] < 0)
        (9, True)
    """

    folds: int = 5
    repeats: int = 2
    neighbours: int = 20
    seed: int = 0

    def __call__(
        self, rows: NumberData, neighbour_ids: Int[Tensor, "n k"] | None = None
    ) -> OutlyingTargets:
        """Return scores, strengths and suggested values of all rows.

        Args:
            rows: Features and given targets.
            neighbour_ids: Positions of each row's k nearest rows, [n, k]; None searches them.

        Raises:
            InputError: All rows are in one group.
        """
        seeds = range(self.seed, self.seed + self.repeats)
        folds = [assign_group_folds(rows.group_ids, self.folds, seed) for seed in seeds]
        if neighbour_ids is None:
            neighbour_ids = find_neighbours(rows.features, self.neighbours)
        middle, scale = _standardize(rows.targets)
        given = (rows.targets - middle) / scale
        trained = torch.where(rows.is_reviewed, (rows.reviewed - middle) / scale, given)
        ridge = RobustRidge.from_features(rows.features, torch.stack(folds))
        predicted = _pool_neighbours(ridge.cross_fit(trained), trained, rows, neighbour_ids)
        spread = estimate_spread(ridge, trained - predicted, predicted)
        # The sign and the size of a residual in the units of its own conditional distribution.
        mixture = fit_error_mixture(trained, predicted, spread)
        right = mixture.score < 0.5
        quantiles = compute_quantiles(((trained - predicted) / spread)[right], (*INTERVAL, 0.5))
        low, high, median = (predicted + spread * quantile for quantile in quantiles)
        prior_score = mixture.compute_score(given, predicted, spread)
        score = torch.where(rows.is_reviewed, rows.is_wrong.double(), prior_score)
        influence = ridge.compute_self_influence(given, SELF_INFLUENCE_PENALTY)
        skill, informed = _measure_skill(trained, predicted, rows)
        return OutlyingTargets(
            score,
            prior_score,
            mixture.compute_strength(given, predicted, spread),
            median * scale + middle,
            low * scale + middle,
            high * scale + middle,
            (influence * scale**2).nan_to_num(),  # targets of 1e160 have no finite square
            skill,
            informed,
            mixture.error_share,
        )


def _standardize(targets: Float[Tensor, " n"]) -> tuple[float, float]:
    """Median and robust spread of the targets, so that no unit or far value matters."""
    middle, spread = compute_quantiles(targets, (0.5,))[0], compute_spread(targets)
    return middle, spread or float(targets.std())


def _pool_neighbours(
    predicted: Tensor, trained: Tensor, rows: NumberData, neighbour_ids: Int[Tensor, "n k"]
) -> Float[Tensor, " n"]:
    """Pool a prediction with the median of each row's neighbours, by mean absolute error.

    Neighbours of the row's own group are left out.
    """
    values = trained[neighbour_ids]
    groups = rows.group_ids
    values[groups[neighbour_ids] == groups[:, None]] = torch.nan
    median = values.nanmedian(1).values
    median = torch.where(median.isnan(), predicted, median)
    pools = [(1 - weight) * predicted + weight * median for weight in POOL_WEIGHTS]
    return min(pools, key=lambda pool: float((trained - pool).abs().mean()))


def _measure_skill(trained: Tensor, predicted: Tensor, rows: NumberData) -> tuple[float, bool]:
    """Share of the absolute deviation that is explained, and whether chance explains less.

    The gain of a row is bounded, so that one far target does not decide.
    """
    error = (trained - predicted).abs()
    deviation = (trained - compute_quantiles(trained, (0.5,))[0]).abs()
    limit = 5 * compute_spread(trained)
    gain = deviation.clamp_max(limit) - error.clamp_max(limit)
    standard_error = float(gain.std()) / len(rows.group_ids.unique()) ** 0.5
    skill = float(gain.mean()) / max(float(deviation.clamp_max(limit).mean()), 1e-300)
    return skill, float(gain.mean()) > 2.33 * standard_error
