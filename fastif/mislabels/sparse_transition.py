"""Sparse noise transition matrix: symmetric noise, and single cells where the evidence adds them.

A free matrix T has c (c - 1) parameters. Where few labels are wrong, or the features say little,
these fit errors of the classifier, and the ranking gets worse than the plain loss. So a cell has a
rate of its own only if the likelihood of the given labels rises by more than its description costs.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from scipy.stats import chi2
from torch import Tensor

from fastif.mislabels.calibration import fit_matrix_scaling
from fastif.mislabels.noise_fit import STEPS, NoiseFit, WeightedLabels, fit_cells, fit_from

TRIAL_RATES = (0.03, 0.1, 0.3, 0.6)
"""Rates of a new cell at which its gain is estimated."""

PATIENCE = 6
"""Number of further cells that may fail to pay: the cells of pairs noise pay only together."""

MIN_GAIN = 0.5
"""Gain of a cell, nats, below which no further one is tried: the mean gain without an effect."""

FITTED_CLASSES = 3
"""Number of classes up to which single cells are tried by fits where no gain is estimated."""

TEST_LEVEL = 0.01
"""Level of the test of a free T against the sparse one."""

MAX_ROWS = 20_000
"""Maximum number of rows by which cells are selected, a random sample."""


@dataclass(frozen=True, eq=False)
class SparseTransition:
    """Selected and averaged sparse T, and whether the data contradict the selected one.

    Attributes:
        transition: Noise transition matrix T of the best criterion, [c, c].
        averaged: Mean of the visited matrices, weighted by exp(criterion), [c, c].
        is_sufficient: Whether a free T is no better, by a likelihood-ratio test at the 1 % level.
        log_evidence: log Σ exp(criterion) over the visited matrices, and the free one where it is
            used, nats.
        misfit: Gain of matrix scaling g, by which the price of a parameter was multiplied.
    """

    transition: Float[Tensor, "c c"]
    averaged: Float[Tensor, "c c"]
    is_sufficient: bool
    log_evidence: float
    misfit: float


def select_sparse_transition(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
    unsmoothed: Float[Tensor, "n c"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
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
        weights: Weight of each row in the likelihood, [n]; n is their sum. Duplicates share one:
            they are no further evidence. None weighs all rows equally.

    Returns:
        Selected T, the mean over the visited ones, and whether the selected one is sufficient.

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
    rows = sample_rows(logits, labels, known_one_hot, weights)
    unsmoothed_rows = rows
    if unsmoothed is not None:
        unsmoothed_rows = sample_rows(unsmoothed, labels, known_one_hot, weights)
    price = measure_misfit(unsmoothed_rows)
    cells = rows.classes * (rows.classes - 1)
    cost = price * (math.log(rows.count) / 2 + math.log(cells))

    def score(candidate: NoiseFit) -> float:
        k = len(candidate.cells)
        return candidate.log_likelihood - price * (
            k * math.log(rows.count) / 2 + _log_binomial(cells, k)
        )

    fits = [fit_cells(rows, (), None)]
    fit = best = fits[0]
    misses = 0
    while misses < min(rows.classes, PATIENCE) and len(fit.cells) < cells:
        wider = _add_cells(fit, rows, cost)
        if wider is None or not wider.log_likelihood - fit.log_likelihood >= MIN_GAIN:
            break  # also if a fit has diverged, so that its likelihood is no number
        fit = wider
        fits.append(fit)
        misses += 1
        if score(fit) > score(best):
            best, misses = fit, 0
    scores = torch.tensor([score(fit) for fit in fits], dtype=torch.float64)
    averaged, evidence = _average_transitions(fits, scores), float(scores.logsumexp(0))
    free_gain = _measure_free_gain(unsmoothed_rows, best.cells)
    is_sufficient = not 2 * free_gain > _compute_critical_value(cells - 1 - len(best.cells))
    if not is_sufficient:
        free_cost = price * (cells - 1) * math.log(rows.count) / 2
        evidence = max(evidence, best.log_likelihood + free_gain - free_cost)
    return SparseTransition(best.transition, averaged, is_sufficient, evidence, price)


def _average_transitions(fits: list[NoiseFit], scores: Float[Tensor, " m"]) -> Float[Tensor, "c c"]:
    """Mean T under Bayesian model averaging by exp(criterion) (Hoeting et al., 1999)."""
    weights = scores.softmax(0).float()
    return torch.einsum("m,mty->ty", weights, torch.stack([fit.transition for fit in fits]))


def _add_cells(fit: NoiseFit, rows: WeightedLabels, cost: float) -> NoiseFit | None:
    """Fit with one or more further cells; None where none promises a gain.

    Gains are estimated at fixed p(t | x). Where noise has moved p(t | x) instead, they may all be
    negative; so the single cells of few classes are tried by fits.
    """
    chosen = _choose_cells(fit, rows, cost)
    if rows.classes > FITTED_CLASSES or (rows.classes > 2 and chosen):
        return fit_cells(rows, (*fit.cells, *chosen), fit.params) if chosen else None
    every = [(t, y) for t in range(rows.classes) for y in range(rows.classes) if t != y]
    fits = [
        fit_cells(rows, (*fit.cells, cell), fit.params) for cell in every if cell not in fit.cells
    ]
    return max(fits, key=lambda fit: fit.log_likelihood)


def sample_rows(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None,
    weights: Float[Tensor, " n"] | None,
) -> WeightedLabels:
    """Random sample of at most `MAX_ROWS` rows; every k-th row might be of one class."""
    count = len(labels)
    ids = torch.arange(count)
    if count > MAX_ROWS:
        ids = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:MAX_ROWS]
    known = torch.zeros(len(ids), logits.shape[1])
    if known_one_hot is not None:
        known = known_one_hot[ids].float()
    row_weights = torch.ones(len(ids)) if weights is None else weights[ids].float()
    return WeightedLabels(logits[ids].float().log_softmax(1), labels[ids], known, row_weights)


def _compute_critical_value(further: int) -> float:
    """Critical value of the likelihood-ratio test (Wilks, 1938) of so many further cells."""
    return float(chi2.isf(TEST_LEVEL, further)) if further > 0 else math.inf


def _measure_free_gain(rows: WeightedLabels, cells: tuple[tuple[int, int], ...]) -> float:
    """Gain of a free T over one of these cells, nats; 0 where it has no further cell."""
    classes = rows.classes
    every = tuple((t, y) for t in range(classes) for y in range(classes) if t != y)
    if len(every) - 1 <= len(cells):
        return 0.0
    sparse = fit_cells(rows, cells, None)
    scale, shift, rate, rates = sparse.params
    fitted = {cell: float(weight) for cell, weight in zip(cells, rates, strict=True)}
    start = torch.tensor([fitted.get(cell, float(rate)) for cell in every[1:]])
    free = fit_from(rows, every[1:], (scale, shift, rate, start), STEPS)
    return free.log_likelihood - sparse.log_likelihood


def measure_misfit(rows: WeightedLabels) -> float:
    """Gain of matrix scaling over symmetric noise, nats per parameter, at least 1.

    1 for two classes, where temperature scaling with biases is as general. Reviews are not used.
    """
    classes = rows.classes
    if classes == 2:
        return 1.0
    unreviewed = replace(rows, known_one_hot=torch.zeros_like(rows.known_one_hot))
    symmetric = fit_cells(unreviewed, (), None)
    scaled = fit_matrix_scaling(rows.log_probs, rows.labels, rows.weights).log_softmax(1)
    label_log_probs = scaled.gather(1, rows.labels[:, None])[:, 0]
    matrix = float((rows.weights * label_log_probs).sum())
    return max(1.0, (matrix - symmetric.log_likelihood) / (classes * (classes - 1)))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _choose_cells(fit: NoiseFit, rows: WeightedLabels, cost: float) -> list[tuple[int, int]]:
    """Cells to try next: the best of each class that pays twice its cost, else the best of all."""
    gains = _estimate_gains(fit, rows)
    for cell in fit.cells:
        gains[cell] = -1.0
    best = gains.amax(1)
    classes = (best > 2 * cost).nonzero()[:, 0].tolist()
    if not classes and float(best.max()) > 0:
        classes = [int(best.argmax())]
    return [(t, int(gains[t].argmax())) for t in classes]


def _estimate_gains(fit: NoiseFit, rows: WeightedLabels) -> Float[Tensor, "c c"]:
    """Gain of each cell, nats, [c, c], if its rate rises at the cost of the diagonal; p stays."""
    classes, labels = rows.classes, rows.labels
    joint = fit.p * fit.transition[:, labels].T
    slopes = fit.p / joint.sum(1, keepdim=True)
    own_rate = fit.transition[:, labels].T.clamp_min(1e-12)
    slopes = torch.where(rows.is_known[:, None], rows.known_one_hot / own_rate, slopes)
    gains = torch.full((classes, classes), -torch.inf)
    for rate in TRIAL_RATES:
        falls = torch.minimum(torch.tensor(rate), fit.transition.diagonal() - 1e-3)
        raised = rows.weights[:, None] * torch.log1p(slopes * rate)
        own = slopes.gather(1, labels[:, None])[:, 0] * falls[labels]
        lowered = rows.weights * torch.log1p(-own.clamp_max(1 - 1e-6))
        by_cell = torch.zeros(classes, classes).index_add_(0, labels, raised).T
        by_class = torch.zeros(classes).index_add_(0, labels, lowered)
        gains = torch.maximum(gains, by_cell + by_class[:, None])
    return gains.fill_diagonal_(-1.0)
