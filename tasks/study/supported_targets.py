"""Refusals of studies whose kind of target a command does not support."""

from collections.abc import Sequence

from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, MEANINGS, TAGS
from tasks.study.tree_study import refuse_trees


def check_target(study: Study, supported: Sequence[str], what: str) -> None:
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
    spans = "`fastif spans find TABLE` for wrong spans, or " if study.target == TAGS else ""
    change = (
        f"use {spans}`fastif audit`, `fastif diff` and `fastif report`, which support every kind; "
        "docs/guides/targets.md lists what each command supports"
    )
    raise StudyError(study.path, [Problem("target", f"{kinds} for {what}", got, change)])


def check_plain_classes(study: Study, what: str) -> None:
    """Refuse a study of other targets than one class a row, of trees, or with weights of rows.

    Args:
        study: Study file.
        what: Name of the command, for the message.

    Raises:
        StudyError: The study has another kind of target, boosted trees or a column of weights.
    """
    refuse_trees(study.path, study.has_trees, what, "use `fastif audit`, `diff` and `report`")
    check_target(study, (CLASS,), what)
    if study.train.weight is not None:
        expected, got = f"no such key for {what}", format_value(study.train.weight)
        change = "use `fastif audit`, `fastif diff` and `fastif report`, which support weights"
        raise StudyError(study.path, [Problem("[train] weight", expected, got, change)])
