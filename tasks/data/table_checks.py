"""Checks of a study's settings against its tables, before anything is computed."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tasks.data.dataset import Table
from tasks.data.tabular import Measurements
from tasks.study.errors import Problem, StudyError, format_value
from tasks.study.target_kind import NUMBER, ONE_CLASS

if TYPE_CHECKING:  # a run-time import would load torch for every reader of a table
    from tasks.study.study import Study


def check_tables(study: "Study", train: Table, queries: Table) -> None:
    """Refuse settings that contradict the tables.

    A `keep` above the number of rows is allowed: all rows are kept then.

    Raises:
        StudyError: k or rows above the number of training rows, or training rows of one class.
    """
    problems, n = [], len(train)
    allowed = f"1 to {n}, the number of rows of {train.place}"
    for where, method in study.candidates.methods_in_file:
        if method.k is not None and method.k > n:
            change = 'lower k, or set kind = "full" to score all rows'
            problems.append(Problem(f"{where} k", allowed, str(method.k), change))
    sample_size = study.curvature.sample_size
    if sample_size is not None and sample_size > n:
        change = 'remove the key, or set rows = "all"'
        problems.append(Problem("[curvature] rows", allowed, str(sample_size), change))
    problems += check_label_variety(study.labels, train)
    problems += _compare_measurements(study, train.measurements, queries.measurements)
    if (train.text_pairs is None) != (queries.text_pairs is None) and len(queries):
        expected, got = "as many columns as in [train]", "another number"
        change = "use one text column in both tables, or two in both"
        problems.append(Problem("[queries] text", expected, got, change))
    problems += _check_measure(study, queries)
    if problems:
        raise StudyError(study.path, problems)


def _check_measure(study: "Study", queries: Table) -> Iterator[Problem]:
    """Yield a problem if the loss, or trusted labels, are asked for and a query has no label."""
    if study.queries.trusted and not queries.is_labelled:
        expected, got = "a label in every row, to trust", f"rows of {queries.place} without one"
        change = "remove the key, or the rows without labels"
        yield Problem("[queries] trusted", expected, got, change)
    is_number = study.target == NUMBER or study.loss.kind in ("squared", "huber")
    needs_label = study.queries.measure == "loss" or is_number
    if needs_label and not queries.is_labelled:
        unlabelled = sum(label is None for label in queries.given_labels)
        got = f"{unlabelled:,} of {len(queries):,} rows of {queries.place} without one"
        change = 'remove the key, or set "log-probability", which needs no labels'
        if is_number:
            change = "add the numbers, or leave these rows out"
        expected = "a label in every row, which the loss needs"
        yield Problem("[queries] measure", expected, got, change)


def _compare_measurements(
    study: "Study", train: Measurements | None, queries: Measurements | None
) -> Iterator[Problem]:
    """Yield problems of queries whose features or images are not those of the training rows."""
    if train is None or queries is None or not len(queries):
        return
    if train.image and study.has_audit:
        return  # the model reads images of any size
    if train.image:
        if (width := train.numbers.shape[1]) != (other := queries.numbers.shape[1]):
            expected = f"images of {width} numbers, as in [train]"
            yield Problem("[queries] image", expected, f"{other}", "use images of equal size")
        return
    names = study.queries.features
    if len(train.kinds) != len(queries.kinds):
        expected, got = f"{len(train.kinds)} columns, as in [train]", f"{len(queries.kinds)}"
        yield Problem("[queries] features", expected, got, "use the same columns")
        return
    for name, kind, other in zip(names, train.kinds, queries.kinds, strict=True):
        if kind != other:
            expected = f"{kind} in column {name}, as in [train]"
            change = "write its cells as in the training table, or use the same columns"
            yield Problem("[queries] features", expected, other, change)


def check_label_variety(labels: Sequence[str], train: Table) -> list[Problem]:
    """Return a problem if all training rows have the same label."""
    if train.kind not in ONE_CLASS:
        return _check_target_variety(train)
    if len(set(train.labels)) > 1:
        return []
    got = f"{format_value(labels[train.labels[0]])} in all {len(train)} rows"
    change = "use a table with rows of all labels, such as that of the model's training"
    return [Problem("[train] label", "2 or more different labels", got, change)]


def _check_target_variety(train: Table) -> list[Problem]:
    """Return a problem if all training rows have the same target, of which nothing is learnt."""
    if len(set(train.targets)) > 1:
        return []
    got = f"one target in all {len(train)} rows"
    change = "use a table with rows of different targets, such as that of the model's training"
    return [Problem("[train] label", "2 or more different targets", got, change)]
