"""Strata and sizes of a random audit sample, with more draws where errors are expected."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

STRATA = 10
"""Number of strata; each receives the same expected number of draws, a tenth of the sample."""
LEAST_ERROR = 0.05
"""Least error probability, and least probability of a right label, that the allocation assumes. It
keeps sampling where a detector is certain: errors that it misses are there."""


def stratify_by_error(
    prior_error: Float[Tensor, " n"], copies: Int[Tensor, " n"] | None = None
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Strata of the error probability with measures of size by Neyman allocation (Neyman, 1934).

        s_i = √(p_i (1 - p_i)),   p_i = prior_error_i within [0.05, 0.95]

    Rows are sorted by `prior_error` and divided into ten strata of equal Σ s (the cumulative √f
    rule of Dalenius and Hodges, 1959). All rows of a stratum have its mean of s, so that each
    stratum receives a tenth of the draws: strata of hardly doubted labels are large and are
    sampled too. Sizes differ by a factor of at most 2.3.

    Args:
        prior_error: Error probability of each label, [n].
        copies: Number of equal rows that each row stands for, [n]; None for 1 each.

    Returns:
        Stratum of each row, [n], and its size, proportional to its probability in the next draw.

    Examples:
        >>> import torch
        >>> _, sizes = stratify_by_error(torch.tensor([0.001] * 90 + [0.5] * 10))
        >>> [round(float(size), 3) for size in (sizes[0], sizes[-1])]
        [0.218, 0.5]
    """
    p = prior_error.double().clamp(LEAST_ERROR, 1 - LEAST_ERROR)
    sizes = (p * (1 - p)).sqrt()
    copies = torch.ones_like(p) if copies is None else copies.double()
    order, masses = prior_error.argsort(stable=True), sizes * copies
    cumulative = masses[order].cumsum(0)
    # The middle of each row's share, so that rounding never opens a stratum for one row.
    share = (cumulative - masses[order] / 2) / masses.sum()
    stratum = torch.empty(len(p), dtype=torch.long)
    stratum[order] = (share * STRATA).long().clamp_max(STRATA - 1)
    totals = torch.zeros(STRATA, dtype=torch.float64).index_add(0, stratum, masses)
    counts = torch.zeros_like(totals).index_add(0, stratum, copies)
    return stratum, (totals / counts.clamp_min(1))[stratum]
