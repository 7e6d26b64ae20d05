"""Target columns of a table whose rows are labelled with something other than one class."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tasks.data.read_targets import FALSE, SEPARATORS, SUM_TOLERANCE, TRUE
from tasks.onboarding.column_profiles import ColumnProfile
from tasks.onboarding.label_names import sort_values
from tasks.onboarding.name_words import score_name
from tasks.onboarding.profiled_table import ProfiledTable
from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.target_kind import MULTI_LABEL, NUMBER, ORDINAL, SOFT_LABEL, TAGS

MAX_NAMES = 300
"""Largest number of label names that are looked for in lists."""
MAX_RANKS = 20
"""Largest number of ordered classes that are looked for."""
TARGET_NAMES = {
    **dict.fromkeys(("target", "y", "label", "price", "score", "rating", "stars", "value"), 2.0),
    **dict.fromkeys(("amount", "cost", "rent", "age", "duration", "level", "grade"), 1.0),
}
TAG_NAMES = ("tags", "ner_tags", "pos_tags", "labels")
CHOSEN, FROM_OPTION = "chosen by its contents", "named by --label"


@dataclass(frozen=True)
class TargetColumns:
    """Columns of the target of a row, and the label names.

    Attributes:
        kind: Kind of the target.
        columns: One column, or one for each label.
        labels: Label names; the columns of numbers for numbers.
        reason: Reason of the choice.
        doubt: Reason to check the choice; empty without one.
    """

    kind: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    reason: str
    doubt: str = ""


def list_proposals(table: ProfiledTable) -> Iterator[str]:
    """Yield a sentence on each kind of target that the columns of a table may hold."""
    pair = find_tagged(table)
    if pair:
        yield (
            f"{pair[0]} and {pair[1]} hold lists of equal lengths: set `target = "
            f"{format_value(TAGS)}` in a study, or use `fastif spans find {table.path.name}`"
        )
        return
    for name in table.columns:
        if read_names(table.frame[name]) is not None:
            yield f"{name} holds lists of names: --target {MULTI_LABEL} --label {name}"
    flags = find_flags(table)
    if len(flags) > 1:
        options = " ".join(f"--label {name}" for name in flags[:8])
        yield f"{join_some(flags, 8)} hold 0 and 1: --target {MULTI_LABEL} {options}"
    shares = find_shares(table)
    if shares:
        yield f"{join_some(shares, 8)} add up to 1 in each row: --target {SOFT_LABEL}"
    for name in find_numbers(table)[:3]:
        yield f"{name} holds numbers: --target {NUMBER} --label {name}"


def find_target_columns(
    table: ProfiledTable, kind: str, wished: Sequence[str], order: Sequence[str]
) -> TargetColumns:
    """Find the target columns of a kind: those that the user names, or those of clear contents.

    Args:
        table: Training table.
        kind: Kind of the target.
        wished: Columns that the user names; empty to look for them.
        order: Label names in the order of the model's outputs; empty if they are not known.

    Raises:
        StudyError: No column is clearly of this kind.
    """
    names = tuple(name for name in wished if name in table.columns)
    basis = FROM_OPTION if names else CHOSEN
    columns = names or _look_for(table, kind)
    if not columns:
        raise StudyError(table.path, [_explain_missing(table, kind)])
    doubt = "" if names else "the column was chosen by its contents"
    first, *others = columns
    if kind == NUMBER or (kind in (MULTI_LABEL, SOFT_LABEL) and others):
        return TargetColumns(kind, columns, tuple(columns), basis, doubt)
    labels = _list_labels(table, kind, first, order)
    if not order and kind != NUMBER:
        words = "from the lowest to the highest" if kind == ORDINAL else "of the model's outputs"
        doubt = "; ".join(filter(None, [doubt, f"write the labels in the order {words}"]))
    return TargetColumns(kind, columns, labels, basis, doubt)


def find_tagged(table: ProfiledTable) -> tuple[str, str] | None:
    """Return the columns of tokens and of tags, lists of equal lengths; None without."""
    lists = [n for n in table.columns if table.frame[n].dtype.is_nested()]
    lists = [n for n in lists if isinstance(table.frame[n].dtype, pl.List)]
    tags = next((name for name in lists if name in TAG_NAMES), None)
    for name in lists:
        if tags is None or name == tags or table.frame[name].dtype != pl.List(pl.String):
            continue
        lengths = table.frame[name].list.len(), table.frame[tags].list.len()
        if lengths[0].equals(lengths[1], check_names=False) and lengths[0].max() != 1:
            return name, tags
    return None


def read_names(column: pl.Series) -> list[str] | None:
    """Return the label names in a column of lists, or of names with a separator; None for others.

    Examples:
        >>> read_names(pl.Series(["a|b", "b", "a"])), read_names(pl.Series(["a b", "c"]))
        (['a', 'b'], None)
    """
    if column.dtype == pl.List(pl.String):
        return _bound_names(column.drop_nulls().explode().drop_nulls().to_list())
    if column.dtype != pl.String:
        return None
    cells = [cell.strip() for cell in column.drop_nulls().to_list() if cell.strip()]
    if any(cell.startswith("[") for cell in cells):
        try:
            lists = [json.loads(cell) for cell in cells]
        except ValueError:
            return None
        flat = [name for each in lists if isinstance(each, list) for name in each]
        return _bound_names(flat) if all(isinstance(name, str) for name in flat) else None
    for separator in SEPARATORS:
        parts = [[part.strip() for part in cell.split(separator)] for cell in cells]
        names = {part for each in parts for part in each if part}
        has_lists = any(len(each) > 1 for each in parts)
        is_short = all(len(name.split()) <= 3 for name in names)
        if has_lists and is_short and len(names) <= max(2, len(cells) // 2):
            return _bound_names(sorted(names))
    return None


def find_flags(table: ProfiledTable) -> list[str]:
    """Return the columns of 0 and 1, or of yes and no."""
    known = {*TRUE, *FALSE}
    return [
        name
        for name, profile in table.profiles.items()
        if profile.distinct == 2 and {value.lower() for value in profile.values} <= known
    ]


def find_shares(table: ProfiledTable) -> list[str]:
    """Return the columns of numbers from 0 to 1 that add up to 1 in each row; empty without."""
    numbers = {
        name: table.frame[name].cast(pl.Float64, strict=False)
        for name, profile in table.profiles.items()
        if profile.kind == "number" and not profile.blank
    }
    kept = {n: c for n, c in numbers.items() if not c.has_nulls() and c.is_between(0, 1).all()}
    if len(kept) < 2:
        return []
    total = pl.DataFrame(kept).sum_horizontal()
    return [*kept] if ((total - 1).abs() <= SUM_TOLERANCE).all() else []


def find_numbers(table: ProfiledTable) -> list[str]:
    """Return the columns of numbers that are named like a target, the most likely first."""
    scores = {
        name: score_name(name, TARGET_NAMES)
        for name, profile in table.profiles.items()
        if profile.kind == "number" and profile.distinct > 2
    }
    ranked = sorted(scores, key=lambda name: scores[name], reverse=True)  # keeps the order of ties
    return [name for name in ranked if scores[name] > 0]


def _look_for(table: ProfiledTable, kind: str) -> tuple[str, ...]:
    """Return the columns of a kind if there is one reading of the table; empty otherwise."""
    if kind == MULTI_LABEL:
        lists = [name for name in table.columns if read_names(table.frame[name]) is not None]
        return (lists[0],) if len(lists) == 1 else () if lists else (*find_flags(table),)
    if kind == SOFT_LABEL:
        return (*find_shares(table),)
    if kind == NUMBER:
        numbers = find_numbers(table)
        return (numbers[0],) if len(numbers) == 1 else ()
    ranks = [name for name, p in table.profiles.items() if _may_be_rank(p)]
    return (ranks[0],) if len(ranks) == 1 else ()


def _may_be_rank(profile: ColumnProfile) -> bool:
    is_named = score_name(profile.name, TARGET_NAMES) > 0
    return is_named and 2 < profile.distinct <= MAX_RANKS and bool(profile.values)


def _list_labels(
    table: ProfiledTable, kind: str, column: str, order: Sequence[str]
) -> tuple[str, ...]:
    """Return the label names: in the order that is known, else of numbers or by alphabet."""
    values = table.profiles[column].values if column in table.profiles else {}
    names = read_names(table.frame[column]) if kind == MULTI_LABEL else sort_values(values)
    if names is None or not names or (kind == SOFT_LABEL and not order):
        change = "name them in the order of the model's outputs: --labels-order NAME, repeated"
        problem = Problem("labels", f"label names in column {column}", "none", change)
        raise StudyError(table.path, [problem])
    if not order:
        return (*names,)
    if kind != SOFT_LABEL and not {*names} <= {*order}:
        got = join_some([name for name in names if name not in order])
        change = "name every label: --labels-order NAME, repeated"
        raise StudyError(table.path, [Problem("labels", join_some(order), got, change)])
    return (*order,)


def _explain_missing(table: ProfiledTable, kind: str) -> Problem:
    columns = [f"{name} ({profile.kind})" for name, profile in table.profiles.items()]
    return Problem(
        f"[{table.role}] label",
        f"a column that is clearly the target of the kind {format_value(kind)}",
        f"none, or several, among the columns {join_some(columns, 20)}",
        "name it: --label COLUMN, once for each label if each has a column",
    )


def _bound_names(names: Sequence[str]) -> list[str] | None:
    distinct = sorted({*names})
    return distinct if 0 < len(distinct) <= MAX_NAMES else None
