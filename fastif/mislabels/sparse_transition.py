"""Sparse noise transition matrix: symmetric noise, and single cells where the evidence adds them.

A free matrix T has c (c - 1) parameters. Where few labels are wrong, or the features say little,
these fit errors of the classifier, and the ranking gets worse than the plain loss. So a cell has a
rate of its own only if the likelihood of the given labels rises by more than its description costs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.stats import chi2
from torch import Tensor

from fastif.mislabels.calibration import fit_matrix_scaling
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

TRIAL_RATES = (0.03, 0.1, 0.3, 0.6)
"""Rates of a new cell at which its gain is estimated."""

PATIENCE = 6
"""Number of further cells that may fail to pay: the cells of pairs noise pay only together."""

MIN_GAIN = 0.5
"""Gain of a cell, nats, below which no further one is tried: the mean gain without an effect."""

TEST_LEVEL = 0.01
"""Level of the test of a free T against the sparse one."""

MAX_ROWS = 20_000
"""Maximum number of rows by which cells are selected, evenly spaced."""


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


@dataclass(frozen=True, eq=False)
class SparseTransition:
    """Selected sparse T, and whether the data contradict it.

    Attributes:
        transition: Noise transition matrix T, [c, c].
        is_sufficient: Whether a free T is no better, by a likelihood-ratio test at the 1 % level.
    """

    transition: Float[Tensor, "c c"]
    is_sufficient: bool


def select_sparse_transition(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
    unsmoothed: Float[Tensor, "n c"] | None = None,
) -> SparseTransition:
    """Select T by forward selection with the extended BIC (Chen and Chen, 2008).

        maximize  log L - g [½ k log n + log C(c (c - 1), k)]

    over k cells with a rate of their own; the others share one rate. Calibration and rates are
    fitted together by maximum likelihood. The factor g ≥ 1 guards against a classifier that
    confuses classes in its own way, which looks like label noise: it is the gain of matrix scaling,
    nats per parameter, as the dispersion in quasi-likelihood criteria (Lebreton et al., 1992).

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each row, [n].
        known_one_hot: One-hot right class of reviewed rows, zeros for the others, [n, c].
        unsmoothed: Logits before smoothing, [n, c], by which g and a free T are measured; None for
            `logits`.

    Returns:
        T, and whether it is sufficient.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> truth = torch.randint(0, 3, (900,), generator=generator)
        >>> logits = 4 * torch.nn.functional.one_hot(truth, 3).float()
        >>> logits += torch.randn(900, 3, generator=generator)
        >>> labels = torch.where((truth == 0) & (torch.arange(900) % 3 == 0), 1, truth)
        >>> (select_sparse_transition(logits, labels).transition * 10).round().long()
        tensor([[ 6,  4,  0],
                [ 0, 10,  0],
                [ 0,  0, 10]])
    """
    ids = torch.arange(0, len(labels), math.ceil(len(labels) / MAX_ROWS))
    z, y, classes = logits[ids].log_softmax(1), labels[ids], logits.shape[1]
    known = None if known_one_hot is None else known_one_hot[ids]
    fit = best = _fit_cells(z, y, known, (), None)
    raw = z if unsmoothed is None else unsmoothed[ids].log_softmax(1)
    price = measure_misfit(raw, y)
    cells = classes * (classes - 1)

    def score(candidate: NoiseFit) -> float:
        k = len(candidate.cells)
        cost = k * math.log(len(y)) / 2 + _log_binomial(cells, k)
        return candidate.log_likelihood - price * cost

    misses = 0
    while misses < min(classes, PATIENCE) and len(fit.cells) < cells:
        added = _choose_cells(fit, y, known, price * (math.log(len(y)) / 2 + math.log(cells)))
        if not added:
            break
        wider = _fit_cells(z, y, known, (*fit.cells, *added), fit.params)
        if wider.log_likelihood - fit.log_likelihood < MIN_GAIN:
            break
        fit = wider
        misses += 1
        if score(fit) > score(best):
            best, misses = fit, 0
    return SparseTransition(best.transition, not _improves_freely(raw, y, known, best.cells))


def _improves_freely(
    log_probs: Tensor,
    labels: Tensor,
    known_one_hot: Tensor | None,
    cells: tuple[tuple[int, int], ...],
) -> bool:
    """Whether a free T is better than one of these cells: likelihood-ratio test (Wilks, 1938)."""
    classes = log_probs.shape[1]
    every = tuple((t, y) for t in range(classes) for y in range(classes) if t != y)
    further = len(every) - 1 - len(cells)
    if further <= 0:
        return False
    sparse = _fit_cells(log_probs, labels, known_one_hot, cells, None)
    scale, shift, rate, rates = sparse.params
    weights = {cell: float(weight) for cell, weight in zip(cells, rates, strict=True)}
    start = torch.tensor([weights.get(cell, float(rate)) for cell in every[1:]])
    params = (scale, shift, rate, start)
    free = _maximize(log_probs, labels, known_one_hot, every[1:], params, STEPS)
    gain = free.log_likelihood - sparse.log_likelihood
    return 2 * gain > float(chi2.isf(TEST_LEVEL, further))


def measure_misfit(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Gain of matrix scaling over symmetric noise, nats per parameter, at least 1.

    1 for two classes, where temperature scaling with biases is as general.
    """
    classes = logits.shape[1]
    if classes == 2:
        return 1.0
    symmetric = _fit_cells(logits.log_softmax(1), labels, None, (), None)
    scaled = fit_matrix_scaling(logits.log_softmax(1), labels).log_softmax(1)
    matrix = float(scaled.gather(1, labels[:, None]).sum())
    return max(1.0, (matrix - symmetric.log_likelihood) / (classes * (classes - 1)))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _choose_cells(
    fit: NoiseFit, labels: Tensor, known_one_hot: Tensor | None, cost: float
) -> list[tuple[int, int]]:
    """Cells to try next: the best of each class that pays twice its cost, else the best of all."""
    gains = _estimate_gains(fit, labels, known_one_hot)
    for cell in fit.cells:
        gains[cell] = -1.0
    best = gains.amax(1)
    rows = (best > 2 * cost).nonzero()[:, 0].tolist()
    if not rows and float(best.max()) > 0:
        rows = [int(best.argmax())]
    return [(t, int(gains[t].argmax())) for t in rows]


def _estimate_gains(
    fit: NoiseFit, labels: Tensor, known_one_hot: Tensor | None
) -> Float[Tensor, "c c"]:
    """Gain of each cell, nats, [c, c], if its rate rises at the cost of the diagonal; p stays."""
    classes = fit.p.shape[1]
    joint = fit.p * fit.transition[:, labels].T
    slopes = fit.p / joint.sum(1, keepdim=True)
    if known_one_hot is not None:
        is_known = known_one_hot.sum(1, keepdim=True) > 0
        own_rate = fit.transition[:, labels].T.clamp_min(1e-12)
        slopes = torch.where(is_known, known_one_hot / own_rate, slopes)
    gains = torch.full((classes, classes), -torch.inf)
    for rate in TRIAL_RATES:
        falls = torch.minimum(torch.tensor(rate), fit.transition.diagonal() - 1e-3)
        raised = torch.log1p(slopes * rate)
        own = slopes.gather(1, labels[:, None])[:, 0] * falls[labels]
        lowered = torch.log1p(-own.clamp_max(1 - 1e-6))
        by_cell = torch.zeros(classes, classes).index_add_(0, labels, raised).T
        by_class = torch.zeros(classes).index_add_(0, labels, lowered)
        gains = torch.maximum(gains, by_cell + by_class[:, None])
    return gains.fill_diagonal_(-1.0)


def _fit_cells(
    log_probs: Tensor,
    labels: Tensor,
    known_one_hot: Tensor | None,
    cells: tuple[tuple[int, int], ...],
    start: tuple[Tensor, Tensor, Tensor, Tensor] | None,
) -> NoiseFit:
    """Fit calibration and rates by penalized maximum likelihood, from `start` if there is one."""
    classes = log_probs.shape[1]
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
    fits = [_maximize(log_probs, labels, known_one_hot, cells, params, steps) for params in starts]
    return max(fits, key=lambda fit: fit.log_likelihood)


def _maximize(
    log_probs: Tensor,
    labels: Tensor,
    known_one_hot: Tensor | None,
    cells: tuple[tuple[int, int], ...],
    start: tuple[Tensor, Tensor, Tensor, Tensor],
    steps: int,
) -> NoiseFit:
    scale, shift, rate, cell_rates = params = tuple(
        param.clone().requires_grad_() for param in start
    )
    classes = log_probs.shape[1]
    is_diagonal = torch.eye(classes, dtype=torch.bool)
    positions = torch.tensor(cells, dtype=torch.long).reshape(-1, 2).unbind(1)

    def compute_parts() -> tuple[Tensor, Tensor, Tensor]:
        weights = torch.where(is_diagonal, torch.zeros(()), rate)
        log_rates = weights.index_put(positions, cell_rates).log_softmax(1)
        factor = scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
        log_classes = (factor * log_probs + shift).log_softmax(1)
        joint = log_classes + log_rates[:, labels].T
        log_likelihoods = joint.logsumexp(1)
        if known_one_hot is not None:
            is_known = known_one_hot.sum(1) > 0
            log_likelihoods = torch.where(is_known, (known_one_hot * joint).sum(1), log_likelihoods)
        return log_likelihoods, log_classes, log_rates

    def loss() -> Tensor:
        log_likelihoods, _, log_rates = compute_parts()
        # One row of pseudo-counts for the rates together: two right labels, one over all cells.
        prior = 2 * log_rates.diagonal().mean() + 0.1 * classes * log_rates.mean()
        penalty = PENALTY * (shift.square().sum() + scale.square().sum())
        return -log_likelihoods.mean() + penalty - prior / len(labels)

    free = [param for param in params if param.numel()]
    minimize_lbfgs(loss, free, max_iter=steps, history_size=10, tolerance_grad=1e-6)
    with torch.no_grad():
        log_likelihoods, log_classes, log_rates = compute_parts()
    total = float(log_likelihoods.double().sum())
    fitted = (scale.detach(), shift.detach(), rate.detach(), cell_rates.detach())
    return NoiseFit(cells, fitted, total, log_classes.exp(), log_rates.exp())
