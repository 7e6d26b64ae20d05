"""Warnings about a mislabel detection, for the terminal, the report and Prefect."""

from collections.abc import Iterator
from typing import Any

from tasks.mislabels.classifier_trust import warn_classifiers
from tasks.mislabels.informed_ranking import explain_chance, is_informed, suggest_features

MIN_PSEUDO_R2 = 0.05
"""Least pseudo-R² of the labels given the features at which the ranking is meaningful."""


def warn_detection(facts: dict[str, Any]) -> Iterator[str]:
    """Yield warnings about the encoder, the features, the search and conflicting annotations.

    Args:
        facts: Summary of the detection.
    """
    if facts["encoder_saw_labels"]:
        yield (
            "The texts were embedded by the study's own model, which was fitted to their labels, "
            "wrong ones included. Set [mislabels] encoder to a model not trained on them."
        )
    if not is_informed(facts):
        yield explain_chance(facts)
    elif facts["skill"] < MIN_PSEUDO_R2:
        yield (
            "The features hardly predict the labels (pseudo-R² "
            f"{max(0.0, facts['skill']):.0%}), so the ranking means little. "
            f"{suggest_features(facts)}"
        )
    yield from warn_classifiers(facts)
    if facts.get("neighbour_recall") is not None:
        yield (
            f"The nearest rows of {facts['rows']:,} were searched approximately: by a random "
            f"sample, {facts['neighbour_recall']:.0%} of the nearest ones are among those used."
        )
    if facts["reviewed"]["conflicts"]:
        yield (
            f"Reviewers disagree on {facts['reviewed']['conflicts']} rows; their annotations are "
            "not used. See `fastif review conflicts`."
        )
