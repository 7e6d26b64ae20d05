"""Name of the score by which rows are ranked: a probability only if annotations calibrate it."""

from typing import Any

PROBABILITY, STRENGTH = "probability", "strength"

EXPLANATION = (
    "Strength is the evidence that a label is wrong, from 0 to 1. It is no calibrated probability: "
    "that takes about 100 annotations of a random sample"
)


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
