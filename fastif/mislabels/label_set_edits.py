"""Errors of label sets as edits: a label of the row was left out, added, or exchanged."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROUNDS = 30
"""Rounds of expectation and maximization."""
FIRST_RATE = 0.05
"""Rate of each kind of edit before the first round."""
PRIOR_LABELS = 20.0
"""Weight of a rate of zero in that of all labels, in labels that rows have."""
SHRUNK_LABELS = 100.0
"""Weight of the rate of all labels in that of one label, in labels that rows have."""
MIN_PROBABILITY = 1e-6
"""Least probability of a label, so that none is certain."""


@dataclass(frozen=True, eq=False)
class SetEdits:
    """Rates of the edits that make wrong label sets of right ones, and the sizes of right sets.

    Attributes:
        forgotten: Probability that a label of a row is missing, by label, [c].
        added: Probability that a label that a row has not is given, by label, [c].
        exchanged: Probability that a label of a row is given as another one.
        log_size: Log of the factor h(m) of right sets with m labels, see `fit_set_edits`, [c+1].
    """

    forgotten: Float[Tensor, " c"]
    added: Float[Tensor, " c"]
    exchanged: float
    log_size: Float[Tensor, " s"]


@dataclass(frozen=True, eq=False)
class SetErrors:
    """Probabilities of the edits of n rows.

    Attributes:
        forgotten: Probability that the row lacks a label wrongly, all others being right, [n, c].
        added: Probability that the row has a label wrongly, all others being right, [n, c].
        exchanged: Probability that a label was given for another one: of the cells of both, [n, c].
        row: Probability that the set is wrong, [n].
    """

    forgotten: Float[Tensor, "n c"]
    added: Float[Tensor, "n c"]
    exchanged: Float[Tensor, "n c"]
    row: Float[Tensor, " n"]

    @property
    def cell(self) -> Float[Tensor, "n c"]:
        """Probability that a row has, or lacks, a label wrongly, [n, c]."""
        return self.forgotten + self.added + self.exchanged


def fit_set_edits(
    p: Float[Tensor, "n c"], given: Int[Tensor, "n c"], settled: Bool[Tensor, "n c"] | None = None
) -> SetEdits:
    """Fit the rates of edits and the sizes of right sets, by expectation-maximization.

    Right sets Y of a row are independent labels, tilted by their number m:

        p(Y | x) ∝ h(|Y|) Π_{j ∈ Y} p_j Π_{j ∉ Y} (1 - p_j)

    The factor h is the share of right sets with m labels, relative to the mean share under
    independent labels (the Poisson binomial distribution). It is what tells a row whose only label
    was forgotten, where rows have one or more. A given set is the right one after at most one edit.
    Rates of a label are shrunk to those of all labels, by which rare labels have those of the
    others.

    Args:
        p: Out-of-fold probabilities of the labels.
        given: Given labels, 0 or 1.
        settled: Cells that are known to be right, and are no part of an edit; None without.
    """
    c = given.shape[1]
    p = p.double().clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    expected = mean_set_sizes(p)
    sizes = torch.bincount(given.sum(1), minlength=c + 1).to(p)
    edits = _start_edits(c, sizes, expected)
    for _ in range(ROUNDS):
        errors = find_set_errors(p, given, edits, settled)
        edits = _update_edits(errors, given, expected)
    return edits


def find_set_errors(
    p: Float[Tensor, "n c"],
    given: Int[Tensor, "n c"],
    edits: SetEdits,
    settled: Bool[Tensor, "n c"] | None = None,
) -> SetErrors:
    """Return the probability of each edit of the given sets, by Bayes' rule over single edits.

    Args:
        p: Out-of-fold probabilities of the labels.
        given: Given labels, 0 or 1.
        edits: Rates of edits, and sizes of right sets.
        settled: Cells that are known to be right; None without.
    """
    p = p.double().clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    on, c = given == 1, given.shape[1]
    is_open = torch.ones_like(on) if settled is None else ~settled
    count = given.sum(1)
    size = edits.log_size
    larger, smaller = (size[m.clamp(0, c)] - size[count] for m in (count + 1, count - 1))
    odds = p.logit().exp()
    forgotten = odds * _to_odds(edits.forgotten) * larger.exp()[:, None] * (~on & is_open)
    added = _to_odds(edits.added) / odds * smaller.exp()[:, None] * (on & is_open)
    # an exchange of j for k has weight (odds of k) / (odds of j), a product, so that sums factor
    wrongly_on, wrongly_off = (on & is_open) / odds, (~on & is_open) * odds
    free = (c - count).clamp_min(1).to(p)[:, None]
    rate = edits.exchanged / (1 - edits.exchanged) / free
    sum_on, sum_off = wrongly_on.sum(1, keepdim=True), wrongly_off.sum(1, keepdim=True)
    exchanged = rate * (wrongly_on * sum_off + wrongly_off * sum_on)
    total = 1 + (forgotten + added).sum(1, keepdim=True) + rate * sum_on * sum_off
    row = 1 - 1 / total[:, 0]
    return SetErrors(forgotten / total, added / total, exchanged / total, row)


def mean_set_sizes(p: Float[Tensor, "n c"]) -> Float[Tensor, " s"]:
    """Mean over rows of the Poisson binomial distribution: shares of rows with 0 to c labels.

    Examples:
        >>> mean_set_sizes(torch.tensor([[0.5, 0.5]])).tolist()
        [0.25, 0.5, 0.25]
    """
    shares = torch.cat([torch.ones_like(p[:, :1]), torch.zeros_like(p)], 1)
    for label in p.T:
        with_label = torch.cat([torch.zeros_like(shares[:, :1]), shares[:, :-1]], 1)
        shares = shares * (1 - label[:, None]) + with_label * label[:, None]
    return shares.mean(0)


def _start_edits(c: int, sizes: Float[Tensor, " s"], expected: Float[Tensor, " s"]) -> SetEdits:
    rates = torch.full((c,), FIRST_RATE, dtype=sizes.dtype)
    return SetEdits(rates, rates, FIRST_RATE, _compare_sizes(sizes, expected))


def _update_edits(
    errors: SetErrors, given: Int[Tensor, "n c"], expected: Float[Tensor, " s"]
) -> SetEdits:
    """Return the rates that the errors have on average, and the sizes of the right sets."""
    n, c = given.shape
    has = (given + errors.forgotten - errors.added).sum(0)
    lacks = n - has
    exchanged = float(errors.exchanged.sum()) / 2
    forgotten, added = errors.forgotten.sum(0), errors.added.sum(0)
    count = given.sum(1)
    sizes = torch.zeros(c + 1, dtype=has.dtype)
    fewer, more = errors.added.sum(1), errors.forgotten.sum(1)
    for change, shares in ((0, 1 - fewer - more), (-1, fewer), (1, more)):
        sizes.index_add_(0, (count + change).clamp(0, c), shares)
    return SetEdits(
        _shrink(forgotten, has, has.sum()),
        _shrink(added, lacks, has.sum()),
        (exchanged + 1) / (float(has.sum()) + PRIOR_LABELS),
        _compare_sizes(sizes, expected),
    )


def _shrink(
    errors: Float[Tensor, " c"], cells: Float[Tensor, " c"], labels: Tensor
) -> Float[Tensor, " c"]:
    """Return the share of errors by label, shrunk to that of all labels.

    Args:
        errors: Expected errors by label.
        cells: Cells that they are among.
        labels: Number of labels of all rows; the weights are shares of it.
    """
    common = (errors.sum() + 1) / (cells.sum() * (1 + PRIOR_LABELS / labels))
    prior = cells.sum() * SHRUNK_LABELS / labels
    return ((errors + prior * common) / (cells + prior)).clamp(1e-9, 0.5)


def _compare_sizes(
    sizes: Float[Tensor, " s"], expected: Float[Tensor, " s"]
) -> Float[Tensor, " s"]:
    """Return the log of the shares of set sizes relative to the expected ones.

    One row is spread as expected, and no expected share is below that of one row.
    """
    shares = (sizes + expected) / (sizes.sum() + 1)
    return (shares / expected.clamp_min(1 / float(sizes.sum()))).log()


def _to_odds(rate: Float[Tensor, " c"]) -> Float[Tensor, " c"]:
    return rate / (1 - rate)
