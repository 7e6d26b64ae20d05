"""Damping λ as a share of the curvature's largest eigenvalue, where nothing can be retrained."""

import math

import torch

from fastif.curvature.ggn import GaussNewton, zero_curvature_error
from fastif.evaluation.select_damping import DampingSelection
from fastif.solvers.lanczos import max_eigenvalue

EXACT_SHARE = 0.03
"""Share of the largest eigenvalue for exact solves.

It kept 85 % or more of the best agreement with retraining on the three workloads on which it was
chosen; 0.01 kept 74 %, 0.1 kept 69 %. The best share differed a hundredfold between them.
"""

EKFAC_SHARE = 0.0005
"""Share of the same eigenvalue for EK-FAC, whose best λ is smaller; it kept 95 % or more there."""

MAX_ROWS, MIN_EXAMPLES = 256, 32
"""Number of factor rows from which the eigenvalue is estimated, and least number of examples.

More would cost as much as the solves, for a rule that is right to a factor of ten at best.
"""

PRODUCTS = 8
"""Largest number of products with the curvature."""

WHERE = "damping by the spectrum"


def select_damping_by_spectrum(
    curvature: GaussNewton, *, is_ekfac: bool = False
) -> DampingSelection:
    """Select λ as a share of the largest eigenvalue of the Gauss-Newton matrix G.

        λ = 0.03 λ_max(G), or 0.0005 λ_max(G) for EK-FAC

    λ_max by Lanczos, from about 256 factor rows of random examples. This is a rule of thumb for
    models that cannot be retrained; `select_damping_by_retraining` measures what it guesses.

    Args:
        curvature: Gauss-Newton matrix G at the trained weights, over the training set or a sample.
        is_ekfac: Whether λ is for an EK-FAC approximation of G.

    Returns:
        Selection with rule `spectrum`, and NaN as its agreement, which was not measured. Its
        damping comes on top of the L2 penalty of training: λ is at least the penalty.

    Raises:
        InputError: The curvature is zero, or a product with it is not finite.

    Examples:
        >>> import fastif
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> objective = fastif.ModuleObjective(model, fastif.SquaredError())
        >>> train = fastif.TensorExamples(torch.tensor([[2.0]]), torch.tensor([[0.0]]))
        >>> round(select_damping_by_spectrum(fastif.GaussNewton(objective, train)).damping, 3)
        0.24
    """
    largest = max_eigenvalue(_sample_examples(curvature), steps=PRODUCTS)
    if not largest > 0:
        raise zero_curvature_error(WHERE)
    penalty = curvature.ridge
    damping = max(0.0, largest * (EKFAC_SHARE if is_ekfac else EXACT_SHARE) - penalty)
    return DampingSelection(damping, "spectrum", (damping,), (math.nan,), penalty)


def count_sampled_examples(rows_per_example: int) -> int:
    """Return the number of examples from which the eigenvalue is estimated.

    Examples:
        >>> count_sampled_examples(1), count_sampled_examples(2), count_sampled_examples(76)
        (256, 128, 32)
    """
    return max(MIN_EXAMPLES, MAX_ROWS // rows_per_example)


def _sample_examples(curvature: GaussNewton) -> GaussNewton:
    """Return the curvature over examples sampled with replacement, or itself if it has few."""
    size = count_sampled_examples(curvature.rows_per_example)
    if curvature.count <= size:
        return curvature
    return curvature.sample(torch.Generator().manual_seed(0), size)
