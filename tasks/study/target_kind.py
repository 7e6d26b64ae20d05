"""Kinds of targets: what a row of the study is labelled with."""

from collections.abc import Iterator
from typing import Any, Final, Literal

from tasks.study.errors import Problem, format_value

TargetKind = Literal["class", "soft-label", "multi-label", "ordinal", "number", "tags"]
"""Kind of the target of a row, the study's `target`."""

CLASS, SOFT_LABEL, MULTI_LABEL, ORDINAL, NUMBER, TAGS = (
    "class",
    "soft-label",
    "multi-label",
    "ordinal",
    "number",
    "tags",
)
NO_TAG: Final = "_"
"""Text of the tag of a word without one, in the columns `label` and `prediction` of a store."""
ONE_CLASS: Final = (CLASS, ORDINAL)
"""Kinds whose target is one of the label names."""

ALL_TARGETS: Final = (CLASS, SOFT_LABEL, MULTI_LABEL, ORDINAL, NUMBER, TAGS)
"""All kinds of targets."""

MEANINGS: Final = {
    CLASS: "one class a row",
    SOFT_LABEL: "a probability of each class",
    MULTI_LABEL: "any number of labels a row",
    ORDINAL: "one class a row, in the order of `labels`",
    NUMBER: "numbers",
    TAGS: "a tag of each word",
}
"""Label of a row of each kind, in words."""


def name_number_outputs(values: dict[str, Any]) -> Iterator[Problem]:
    """Set `labels` of a study of numbers to the columns of the numbers, in place.

    Yields:
        Problem: The study names other labels.
    """
    train = values.get("train")
    if values.get("target") != NUMBER or not isinstance(train, dict):
        return
    columns = train.get("labels") or [train.get("label")]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        return  # the section's own check reports it
    if "labels" in values and values["labels"] != columns:
        got, change = format_value(values["labels"]), "remove the key"
        yield Problem("labels", "no such key for numbers, which have no classes", got, change)
    values["labels"] = columns
