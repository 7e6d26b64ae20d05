"""Cross-fitted ridge regression with Huber's loss, on one Gram matrix."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-7, 3))
"""Penalties λ, relative to the mean squared norm of a row, among which validation chooses."""
HUBER, ITERATIONS = 1.345, 8
"""Threshold of Huber's loss in robust standard deviations, and number of its steps."""
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
TILE_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class RobustRidge:
    """Ridge regression with Huber's loss by pseudo-observations (Huber and Ronchetti, 2009, 7.8).

        y* = f + clip(y - f, ±1.345 s),   f = ridge fit to y*

    Repeated with the same Gram matrix, this converges to the Huber estimate with scale s, so that
    a far value pulls the fit no more than one at 1.345 standard deviations.

    Attributes:
        features: Features with a column of ones, [n, d + 1], in double precision.
        gram: Gram matrix of all rows, [d + 1, d + 1].
        fold_ids: Fold index of each row, one row a partition, [r, n].
    """

    features: Float[Tensor, "n w"]
    gram: Float[Tensor, "w w"]
    fold_ids: Int[Tensor, "r n"]

    @classmethod
    def from_features(
        cls, features: Float[Tensor, "n d"], fold_ids: Int[Tensor, "r n"]
    ) -> "RobustRidge":
        """Return the regression of a feature matrix, with an intercept."""
        ones = torch.ones(len(features), 1, dtype=torch.float64)
        rows = torch.cat([features.double(), ones], 1)
        return cls(rows, rows.T @ rows, fold_ids)

    def cross_fit(self, targets: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the out-of-fold prediction of every row, the mean over the partitions, [n].

        The penalty has the least mean absolute error of the first partition.
        """
        errors = [
            (targets - self._predict_partition(self.fold_ids[0], targets, penalty)).abs().mean()
            for penalty in PENALTIES
        ]
        penalty = PENALTIES[int(torch.stack(errors).argmin())]
        predictions = [self._predict_partition(ids, targets, penalty) for ids in self.fold_ids]
        return torch.stack(predictions).mean(0)

    def compute_self_influence(
        self, targets: Float[Tensor, " n"], penalty: float
    ) -> Float[Tensor, " n"]:
        """Compute the change of each row's own loss ½ r² if it is removed, exactly, [n].

            ½ (r / (1 - h))² - ½ r²,   h = leverage xᵀ (Xᵀ X + n λ I)⁻¹ x

        Args:
            targets: Given numbers, [n].
            penalty: Penalty λ, fixed while the row is removed.
        """
        factor = self._factor(self.gram, penalty * len(targets))
        solved = torch.cholesky_solve(self.features.T, factor)
        leverage = (self.features * solved.T).sum(1).clamp_max(1 - 1e-9)
        residual = targets - self.features @ (solved @ targets)
        return ((residual / (1 - leverage)).square() - residual.square()) / 2

    def _predict_partition(
        self, fold_ids: Int[Tensor, " n"], targets: Float[Tensor, " n"], penalty: float
    ) -> Float[Tensor, " n"]:
        prediction = torch.empty_like(targets)
        for fold in fold_ids.unique():
            held_out = fold_ids == fold
            x, y = self.features[~held_out], targets[~held_out]
            others = self.features[held_out]
            factor = self._factor(self.gram - others.T @ others, penalty * len(y))
            prediction[held_out] = others @ _fit_huber(x, y, factor)
        return prediction

    def _factor(self, gram: Float[Tensor, "w w"], penalty: float) -> Float[Tensor, "w w"]:
        """Cholesky factor of the penalized Gram matrix; the intercept has hardly a penalty."""
        diagonal = torch.full((len(gram),), penalty, dtype=gram.dtype)
        diagonal[-1] = 1e-9 * len(self.features)
        jitter = 1e-10 * gram.diagonal().mean()
        return torch.linalg.cholesky(gram + (diagonal + jitter).diag())


def compute_spread(values: Float[Tensor, " n"]) -> float:
    """Compute a robust standard deviation, from the narrowest interquantile range that is not 0.

    Examples:
        >>> round(compute_spread(torch.arange(101.0).double()), 1)
        37.1
        >>> compute_spread(torch.tensor([3.0, 3.0]).double())
        0.0
    """
    normal = torch.distributions.Normal(0.0, 1.0)
    for share in (0.25, 0.1, 0.05, 0.02, 0.01, 0.0):
        low, high = compute_quantiles(values, (share, 1 - share))
        if high > low:
            share = max(share, 0.5 / len(values))
            return (high - low) / (2 * float(normal.icdf(torch.tensor(1 - share))))
    return 0.0


def compute_quantiles(values: Float[Tensor, " n"], shares: tuple[float, ...]) -> list[float]:
    """Return quantiles by linear interpolation; `torch.quantile` refuses many values."""
    ordered = values.sort().values
    quantiles = []
    for share in shares:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        part = place - low
        step = part * (ordered[high] - ordered[low])  # exactly 0 between equal values
        quantiles.append(float(ordered[low] + step))
    return quantiles


def _fit_huber(
    x: Float[Tensor, "m w"], y: Float[Tensor, " m"], factor: Float[Tensor, "w w"]
) -> Float[Tensor, " w"]:
    """Fit by pseudo-observations; the first ones are clipped at four robust deviations."""
    middle, spread = compute_quantiles(y, (0.5,))[0], compute_spread(y)
    pseudo = y.clamp(middle - 4 * spread, middle + 4 * spread)
    weights = torch.zeros(x.shape[1], dtype=x.dtype)
    for _ in range(ITERATIONS):
        weights = torch.cholesky_solve((x.T @ pseudo)[:, None], factor)[:, 0]
        fitted = x @ weights
        residual = y - fitted
        limit = HUBER * NORMAL_MAD * compute_quantiles(residual.abs(), (0.5,))[0]
        pseudo = fitted + residual.clamp(-limit, limit)
    return weights
