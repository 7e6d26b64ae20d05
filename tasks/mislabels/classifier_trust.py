"""Sentences on the classifiers of `[mislabels] judges`: how far each is trusted, and warnings."""

from collections.abc import Iterator
from typing import Any

from tasks.mislabels.strength import is_calibrated

LITTLE = 0.005
"""Share of the labels' entropy below which a classifier is said to explain nothing."""


def describe_classifiers(facts: dict[str, Any]) -> list[str]:
    """Describe the predictions, agreement and weight of each classifier, a line each.

    Its estimated accuracy is left out until a random audit sample calibrates the estimate.
    """
    has_accuracy = is_calibrated(facts)
    classifiers = facts.get("classifiers", [])
    return [_describe(each, facts["rows"], has_accuracy) for each in classifiers]


def warn_classifiers(facts: dict[str, Any]) -> Iterator[str]:
    """Yield a warning for each classifier that was probably trained on the given labels."""
    for each in facts.get("classifiers", []):
        if each["copying"] > 0:
            yield (
                f"The classifier {each['name']} agrees with the given label on "
                f"{each['agreement']:.1%} of its rows, more than the out-of-fold classifiers: it "
                "was probably trained on these labels, and repeats wrong ones. So its agreement "
                "counts for little. Use its out-of-fold predictions, or remove it from judges."
            )


def _describe(each: dict[str, Any], rows: int, has_accuracy: bool) -> str:
    in_rows = "all rows" if each["rows"] == rows else f"{each['rows']:,} of {rows:,} rows"
    head = f"{each['name']}: {each['kind']}, {in_rows}"
    if each["weight"] < LITTLE:
        return f"{head}; explains nothing of the labels, weight 0"
    if each["label_slope"] is not None:
        kind = "right" if each["label_slope"] > 0 else "wrong"
        return (
            f"{each['name']}: {each['kind']} of the given label, {in_rows}, higher for {kind} "
            f"labels; in favour of the label in "
            f"{each['agreement']:.1%}, explains {each['pseudo_r2']:.0%} of the entropy of right "
            f"and wrong; weight {each['weight']:.2f}"
        )
    direction = f", higher for {each['rising']}" if each["rising"] is not None else ""
    copied = ", follows wrong labels" if each["copying"] else ""
    accuracy = f", right in {each['accuracy']:.1%} (estimate)" if has_accuracy else ""
    return (
        f"{head}{direction}; agrees with the given label in {each['agreement']:.1%}{accuracy}, "
        f"explains {each['pseudo_r2']:.0%} of the labels' entropy{copied}; weight "
        f"{each['weight'] * (1 - each['copying']):.2f}"
    )
