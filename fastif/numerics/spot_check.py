"""Spot checks: a small fixed share of many similar computations is verified."""

SPOT_CHECK_INTERVAL = 32
"""One computation in this many is checked; a check costs about as much as the computation."""
GOLDEN_RATIO = 0.6180339887498949
"""Inverse golden ratio: its multiples are evenly spread modulo 1, for any period of work."""


def is_spot_check(number: int) -> bool:
    """Whether to check the computation with this number, counted from 1.

    Examples:
        >>> [number for number in range(1, 150) if is_spot_check(number)]
        [34, 68, 89, 123]
    """
    return (number * GOLDEN_RATIO) % 1.0 < 1 / SPOT_CHECK_INTERVAL
