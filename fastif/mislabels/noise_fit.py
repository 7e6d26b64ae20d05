"""Maximum likelihood fit of calibration and of a noise transition matrix with given free cells."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

MAX_LOG_SCALE = 10.0
"""Bound on |log a|, where a is the scale of the logits."""

PENALTY = 1e-4
"""L2 penalty on log a and b of the calibration, which keeps b finite for a class without rows."""

INITIAL_ERRORS = (0.3, 0.05)
"""Fractions of wrong labels at which the fit of symmetric noise starts; the better fit is kept."""

INITIAL_LOG_RATE = -2.0
"""Log of a new cell's weight, relative to the diagonal, at which its fit starts."""

STEPS, FURTHER_STEPS = 60, 20
"""Maximum number of L-BFGS iterations of the first fit, and of one that starts from another."""


@dataclass(frozen=True, eq=False)
class WeightedLabels:
    """Rows whose given labels a noise model explains.

    Attributes:
        log_probs: Out-of-fold log-probabilities, [n, c].
        labels: Given label of each row, [n].
        known_one_hot: One-hot right class of reviewed rows, zeros for the others, [n, c].
        weights: Weight of each row in the likelihood, [n].
    """

    log_probs: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]
    known_one_hot: Float[Tensor, "n c"]
    weights: Float[Tensor, " n"]

    @property
    def classes(self) -> int:
        """Number of classes c."""
        return self.log_probs.shape[1]

    @property
    def count(self) -> float:
        """Number of independent rows: the sum of the weights."""
        return float(self.weights.sum())

    @property
    def is_known(self) -> Bool[Tensor, " n"]:
        """Mask of reviewed rows, [n]."""
        return self.known_one_hot.sum(1) > 0


@dataclass(frozen=True, eq=False)
class NoiseFit:
    """Maximum likelihood fit of calibration and sparse T.

    Attributes:
        cells: Cells (true class, given label) with a rate of their own.
        params: log a, b, log-weight of the other cells, and log-weights of `cells`; those of the
            diagonal are 0.
        log_likelihood: Log-likelihood of the given labels, nats.
        p: Class probabilities p(t | x), [n, c].
        transition: T, [c, c].
    """

    cells: tuple[tuple[int, int], ...]
    params: tuple[Tensor, Tensor, Tensor, Tensor]
    log_likelihood: float
    p: Float[Tensor, "n c"]
    transition: Float[Tensor, "c c"]


def fit_cells(
    rows: WeightedLabels,
    cells: tuple[tuple[int, int], ...],
    start: tuple[Tensor, Tensor, Tensor, Tensor] | None,
) -> NoiseFit:
    """Fit calibration and rates of cells by penalized maximum likelihood.

        log-likelihood = Σ_i w_i log Σ_t softmax(a · log_probs_i + b)[t] · T[t, y_i]

    Args:
        rows: Rows whose labels are explained.
        cells: Cells (true class, given label) with a rate of their own; the others share one.
        start: Parameters of a fit of the first of these cells; None starts from symmetric noise.
    """
    classes = rows.classes
    if start is None:
        starts = [
            (
                torch.zeros(1),
                torch.zeros(classes),
                torch.tensor([math.log(error / (classes - 1))]),
                torch.full((len(cells),), INITIAL_LOG_RATE),
            )
            for error in INITIAL_ERRORS
        ]
    else:
        new = torch.full((len(cells) - len(start[3]),), INITIAL_LOG_RATE)
        starts = [(*start[:3], torch.cat([start[3], new]))]
    steps = STEPS if start is None else FURTHER_STEPS
    fits = [fit_from(rows, cells, params, steps) for params in starts]
    return max(fits, key=lambda fit: fit.log_likelihood)


def fit_from(
    rows: WeightedLabels,
    cells: tuple[tuple[int, int], ...],
    start: tuple[Tensor, Tensor, Tensor, Tensor],
    steps: int,
) -> NoiseFit:
    """Fit as `fit_cells` does from parameters of all cells, by so many steps of L-BFGS."""
    scale, shift, rate, cell_rates = params = tuple(
        param.clone().requires_grad_() for param in start
    )
    classes, count = rows.classes, rows.count
    is_diagonal = torch.eye(classes, dtype=torch.bool)
    positions = torch.tensor(cells, dtype=torch.long).reshape(-1, 2).unbind(1)

    def compute_parts() -> tuple[Tensor, Tensor, Tensor]:
        weights = torch.where(is_diagonal, torch.zeros(()), rate)
        log_rates = weights.index_put(positions, cell_rates).log_softmax(1)
        factor = scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
        log_classes = (factor * rows.log_probs + shift).log_softmax(1)
        joint = log_classes + log_rates[:, rows.labels].T
        known = (rows.known_one_hot * joint).sum(1)
        log_likelihoods = torch.where(rows.is_known, known, joint.logsumexp(1))
        return rows.weights * log_likelihoods, log_classes, log_rates

    def loss() -> Tensor:
        log_likelihoods, _, log_rates = compute_parts()
        # One row of pseudo-counts for the rates together: two right labels, one over all cells.
        prior = 2 * log_rates.diagonal().mean() + 0.1 * classes * log_rates.mean()
        penalty = PENALTY * (shift.square().sum() + scale.square().sum())
        return (-log_likelihoods.sum() - prior) / count + penalty

    free = [param for param in params if param.numel()]
    minimize_lbfgs(loss, free, max_iter=steps, history_size=10, tolerance_grad=1e-6)
    with torch.no_grad():
        log_likelihoods, log_classes, log_rates = compute_parts()
    total = float(log_likelihoods.double().sum())
    fitted = (scale.detach(), shift.detach(), rate.detach(), cell_rates.detach())
    return NoiseFit(cells, fitted, total, log_classes.exp(), log_rates.exp())
