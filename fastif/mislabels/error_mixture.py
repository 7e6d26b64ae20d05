"""Mixture of right and wrong numbers: Student's t, and the distribution of all targets."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.robust_ridge import compute_quantiles, compute_spread

DEGREES = (4.0, 8.0, 30.0)
"""Candidate degrees of freedom of Student's t: how heavy the tails of right targets may be."""
STEPS = 50
SIDE_QUANTILES = {0.2: 0.8416, 0.1: 1.2816}
"""Quantiles from which the spread of a side is computed, with the normal ones; the larger spread
counts, as residuals of counts may be equal in a large share of the rows."""
PRIOR = (1.0, 19.0)
"""Pseudo-counts of wrong and right targets."""
FAR_SHARE, FAR_SPREADS = 0.3, 3.0
"""Share of wrong targets that are outside of the usual range, such as those in another unit, and
the scale of their Cauchy distribution in robust deviations of the targets."""
GRID = 512


@dataclass(frozen=True, eq=False)
class ErrorMixture:
    """Fitted mixture.

    Attributes:
        score: Posterior of an error of each row that it was fitted to, [n].
        error_share: Share of errors π.
        degrees: Degrees of freedom of Student's t.
        center: Median of the residuals in units of the spread.
        sides: Spread of the residuals below and above it.
        marginal: Targets whose distribution wrong ones have.
    """

    score: Float[Tensor, " n"]
    error_share: float
    degrees: float
    center: float
    sides: tuple[float, float]
    marginal: Float[Tensor, " n"]

    def compute_score(
        self, targets: Float[Tensor, " m"], predicted: Float[Tensor, " m"], spread: Tensor
    ) -> Float[Tensor, " m"]:
        """Posterior of an error, π g(y) / ((1 - π) f(y | x) + π g(y)), [m]."""
        right = self._log_right(targets, predicted, spread)
        wrong = log_marginal(targets, self.marginal)
        share = self.error_share
        return (math.log(share / (1 - share)) + wrong - right).sigmoid()

    def compute_strength(
        self, targets: Float[Tensor, " m"], predicted: Float[Tensor, " m"], spread: Tensor
    ) -> Float[Tensor, " m"]:
        """Absolute residual in standard deviations of its side, [m]."""
        offset = (targets - predicted) / spread - self.center
        return offset.abs() / torch.where(offset < 0, self.sides[0], self.sides[1])

    def _log_right(self, targets: Tensor, predicted: Tensor, spread: Tensor) -> Tensor:
        z = self.compute_strength(targets, predicted, spread)
        width = spread * sum(self.sides) / 2  # both halves of the density meet at the center
        student = torch.distributions.StudentT(torch.tensor(self.degrees, dtype=z.dtype))
        return student.log_prob(z) - width.log()


def fit_error_mixture(
    targets: Float[Tensor, " n"], predicted: Float[Tensor, " n"], spread: Float[Tensor, " n"]
) -> ErrorMixture:
    """Fit the share of errors and the tails of right targets by maximum likelihood.

        p(y | x) = (1 - π) f(y | x) + π g(y)

    f is Student's t around the prediction, with the spread of the row on each side. g is the
    distribution of all targets, as of a target that was swapped with another row's, and with a
    share of far values. The two-groups model of Efron (2008), with a null distribution that may
    have heavy tails.

    Args:
        targets: Standardized targets, [n].
        predicted: Out-of-fold predictions, [n].
        spread: Spread of each row, [n].
    """
    z = (targets - predicted) / spread
    center = compute_quantiles(z, (0.5,))[0]
    sides = _compute_side(center - z, z), _compute_side(z - center, z)
    wrong = log_marginal(targets, targets)
    best: tuple[float, ErrorMixture] | None = None
    for degrees in DEGREES:
        start = ErrorMixture(torch.zeros_like(z), 0.05, degrees, center, sides, targets)
        right = start._log_right(targets, predicted, spread)
        share, log_likelihood = _fit_share(right, wrong)
        score = (math.log(share / (1 - share)) + wrong - right).sigmoid()
        fitted = ErrorMixture(score, share, degrees, center, sides, targets)
        if best is None or log_likelihood > best[0]:
            best = log_likelihood, fitted
    assert best is not None, "there are several degrees of freedom"
    return best[1]


def _compute_side(distance: Float[Tensor, " n"], z: Float[Tensor, " n"]) -> float:
    """Spread of one side: the upper quantiles of the distance over those of a normal one."""
    quantiles = compute_quantiles(distance, tuple(1 - share for share in SIDE_QUANTILES))
    sides = [q / normal for q, normal in zip(quantiles, SIDE_QUANTILES.values(), strict=True)]
    return max(*sides, 1e-6 * max(compute_spread(z), 1e-6))


def log_marginal(values: Float[Tensor, " m"], targets: Float[Tensor, " n"]) -> Float[Tensor, " m"]:
    """Log-density of a wrong target: a kernel estimate of all targets, and far values, [m].

    Gaussian kernels of one robust deviation on a grid of quantiles, so that the density falls
    slowly outside of the range, and a Cauchy distribution for far values.
    """
    spread = compute_spread(targets) or 1.0
    middle = compute_quantiles(targets, (0.5,))[0]
    shares = tuple(((torch.arange(GRID) + 0.5) / GRID).tolist())
    ordered = targets.sort().values
    places = (torch.tensor(shares, dtype=targets.dtype) * len(ordered)).long()
    knots = ordered[places]
    width = spread
    far = torch.distributions.Cauchy(middle, FAR_SPREADS * spread).log_prob(values)
    parts = []
    for tile in values.split(16_384):
        kernels = -0.5 * ((tile[:, None] - knots) / width).square()
        parts.append(kernels.logsumexp(1) - math.log(GRID * width * math.sqrt(2 * math.pi)))
    near = torch.cat(parts)
    return torch.logaddexp(near + math.log(1 - FAR_SHARE), far + math.log(FAR_SHARE))


def _fit_share(right: Tensor, wrong: Tensor) -> tuple[float, float]:
    """Fit the share of errors by EM with a beta prior, and return it with the log-posterior."""
    share = 0.05
    for _ in range(STEPS):
        score = (math.log(share / (1 - share)) + wrong - right).sigmoid()
        share = (float(score.sum()) + PRIOR[0]) / (len(score) + sum(PRIOR))
    joint = torch.logaddexp(right + math.log(1 - share), wrong + math.log(share)).sum()
    prior = PRIOR[0] * math.log(share) + PRIOR[1] * math.log(1 - share)
    return share, float(joint) + prior
