"""Kinds of targets: what a row of the study is labelled with, and which commands support it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from tasks.study.errors import Problem, StudyError, format_value, join_some

if TYPE_CHECKING:
    from tasks.study.study import Study

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
    TAGS: "a tag of each token",
}
"""What a row of each kind is labelled with."""


def check_target(study: "Study", supported: Sequence[str], what: str) -> None:
    """Refuse a study whose kind of target a command does not support, by its name.

    Args:
        study: Study file.
        supported: Kinds of targets that the command supports.
        what: Name of the command or option, for the message.

    Raises:
        StudyError: The study has another kind of target.
    """
    if study.target in supported:
        return
    kinds = join_some([format_value(kind) for kind in supported])
    got = f"{format_value(study.target)}: {MEANINGS[study.target]}"
    change = (
        "use `fastif audit`, `fastif diff` and `fastif report`, which support every kind; "
        "docs/guides/targets.md lists what each command supports"
    )
    raise StudyError(study.path, [Problem("target", f"{kinds} for {what}", got, change)])


def check_plain_classes(study: "Study", what: str) -> None:
    """Refuse a study of other targets than one class a row, or with weights of rows.

    Args:
        study: Study file.
        what: Name of the command, for the message.

    Raises:
        StudyError: The study has another kind of target, or names a column of weights.
    """
    check_target(study, (CLASS,), what)
    if study.train.weight is not None:
        expected, got = f"no such key for {what}", format_value(study.train.weight)
        change = "use `fastif audit`, `fastif diff` and `fastif report`, which support weights"
        raise StudyError(study.path, [Problem("[train] weight", expected, got, change)])


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
