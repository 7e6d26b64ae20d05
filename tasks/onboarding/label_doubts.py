"""Doubts about label values: spellings of one label, missing values, labels without a row."""

import re
from collections.abc import Collection

from tasks.study.errors import format_value, join_some
from tasks.study.spelling import fold_name

MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."}
"""Values, folded, that often mean that a label is missing."""
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)[.,]0+")


def find_spellings(values: Collection[str]) -> list[list[str]]:
    """Return groups of values that differ only in case, invisible characters, or as 1 and 1.0.

    >>> find_spellings(["pos", "Pos ", "neg", "1", "1.0"])
    [['1', '1.0'], ['Pos ', 'pos']]
    """
    groups: dict[str, list[str]] = {}
    for value in sorted(values):
        folded = fold_name(value)
        whole = _WHOLE_NUMBER.fullmatch(folded)
        groups.setdefault(whole[1] if whole else folded, []).append(value)
    return [group for group in groups.values() if len(group) > 1]


def describe_spellings(values: Collection[str], names: Collection[str] = ()) -> str:
    """Describe labels that look like spellings of one label, unless all of them are names."""
    groups = [group for group in find_spellings(values) if not {*names}.issuperset(group)]
    groups = [" and ".join(map(format_value, group)) for group in groups]
    if not groups:
        return ""
    return f"{join_some(groups, 3)} look like the same label: write it alike in all rows"


def describe_label_doubts(
    values: Collection[str], names: Collection[str], without_rows: Collection[str]
) -> str:
    """Describe reasons to doubt that every value is a label of its own; empty without a reason.

    Args:
        values: Label values of both tables.
        names: Names of the model's outputs, which are not doubted.
        without_rows: Labels that no training row has.
    """
    doubts = [describe_spellings(values, names)]
    known = {fold_name(name) for name in names}
    if missing := [v for v in sorted(values) if fold_name(v) in MISSING - known]:
        word = join_some(map(format_value, missing), 3)
        doubts.append(f"{word} may mean that a label is missing: remove such rows")
    if new := [value for value in without_rows if fold_name(value) not in known]:
        doubts.append(f"no training row has {join_some(map(format_value, new), 3)}")
    return "; ".join(filter(None, doubts))
