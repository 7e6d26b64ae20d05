"""Spot checks: which of many alike computations are checked, at a small part of their cost."""

SPOT_CHECK_INTERVAL = 32
"""One in so many is checked: a check costs about as much as what it checks."""
GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it fall evenly into the unit interval, whatever period the computations have."""


def is_spot_check(number: int) -> bool:
    """Whether the computation of this number, counted from 1, is checked.

    >>> [number for number in range(1, 150) if is_spot_check(number)]
    [34, 68, 89, 123]
    """
    return (number * GOLDEN_RATIO) % 1.0 < 1 / SPOT_CHECK_INTERVAL
