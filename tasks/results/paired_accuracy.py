"""Accuracy of two runs on the same queries: interval of the change, and McNemar's exact test."""

import math
from statistics import NormalDist

from tasks.results.compare_runs import SliceDifference
from tasks.results.slice_accuracy import CONFIDENCE


def compare_paired_accuracy(part: SliceDifference) -> tuple[float, float, float]:
    """Return the interval of a change in accuracy on paired queries, and McNemar's exact p-value.

    The 95 % interval is the adjusted Wald interval of Bonett and Price (2012).

    Args:
        part: Numbers of broken and of repaired queries.

    Examples:
        >>> part = SliceDifference(None, 70, 0.85, 0.81, None, None, broken=3, repaired=0)
        >>> low, high, p = compare_paired_accuracy(part)
        >>> f"{low:.3f} {high:.3f} {p:.2f}"
        '-0.102 0.018 0.25'
    """
    count = part.queries + 2
    fell, rose = (part.broken + 1) / count, (part.repaired + 1) / count
    error = math.sqrt((fell + rose - (rose - fell) ** 2) / count)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * error
    p = compute_sign_test(part.broken, part.repaired)
    return rose - fell - half, rose - fell + half, p


def compute_sign_test(first: int, second: int) -> float:
    """Return the two-sided exact p-value of two counts that are equally likely (sign test).

        p = min(1, 2 Σ_{i ≤ min(a, b)} C(a + b, i) / 2^(a + b))

    Without SciPy, whose import takes longer than a comparison.

    Args:
        first: Count a.
        second: Count b.

    Examples:
        >>> compute_sign_test(3, 0), compute_sign_test(2, 2), compute_sign_test(0, 0)
        (0.25, 1.0, 1.0)
    """
    total, term, tail = first + second, 1, 0
    for i in range(min(first, second) + 1):
        tail += term
        term = term * (total - i) // (i + 1)
    return min(1.0, 2 * tail / 2**total)
