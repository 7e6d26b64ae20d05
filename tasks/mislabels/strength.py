"""Score by which rows are ranked: a probability only if annotations calibrate it, else strength."""

import math
from typing import Any

PROBABILITY, STRENGTH = "probability", "strength"

EXPLANATION = (
    "Strength is the evidence that a label is wrong. It is no probability: about 100 annotations "
    "of a random sample calibrate it"
)
GRADES = ((0.9, "very high"), (0.5, "high"), (0.1, "medium"), (0.01, "low"))
"""Least scores of the grades of strength, the highest first."""
LOWEST_GRADE = "very low"
MIN_SCORE, MAX_SCORE = 0.001, 0.999
"""Scores with an empty and with a full bar."""
BAR_CELLS = 10


def is_calibrated(facts: dict[str, Any]) -> bool:
    """Whether enough annotations of a random audit sample calibrate the error probabilities.

    Args:
        facts: Summary of a detection.
    """
    sample = facts.get("drawn")
    return bool(sample and sample.get("enough"))


def name_score(facts: dict[str, Any]) -> str:
    """Return "probability" if annotations calibrate the error probabilities, else "strength"."""
    return PROBABILITY if is_calibrated(facts) else STRENGTH


def grade_strength(score: float) -> str:
    """Return a strength in words, since its number would be read as a probability.

    Args:
        score: Score of a row, between 0 and 1.

    Examples:
        >>> grade_strength(0.97), grade_strength(0.3), grade_strength(0.0)
        ('very high', 'medium', 'very low')
    """
    return next((grade for least, grade in GRADES if score >= least), LOWEST_GRADE)


def compute_bar_length(score: float) -> float:
    """Return the length of the bar of a strength, from 0 to 1, on a logit scale.

    On a linear scale all rows but the first would seem harmless, though they may be wrong.

    Args:
        score: Score of a row, between 0 and 1.

    Examples:
        >>> round(compute_bar_length(0.5), 6), compute_bar_length(1.0), compute_bar_length(0.0)
        (0.5, 1.0, 0.0)
    """
    clipped = min(MAX_SCORE, max(MIN_SCORE, score))
    low, value, high = (math.log(p / (1 - p)) for p in (MIN_SCORE, clipped, MAX_SCORE))
    return (value - low) / (high - low)


def draw_bar(score: float) -> str:
    """Draw the bar of a strength in a terminal, with its grade.

    Args:
        score: Score of a row, between 0 and 1.

    Examples:
        >>> draw_bar(0.5)
        '█████░░░░░ high'
    """
    length = round(BAR_CELLS * compute_bar_length(score))
    return f"{'█' * length}{'░' * (BAR_CELLS - length)} {grade_strength(score)}"
