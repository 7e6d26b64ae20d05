"""Group columns of a table: columns with few values by which results are sliced."""

from collections.abc import Collection, Mapping

import polars as pl

from tasks.onboarding.column_profiles import ColumnProfile, format_values
from tasks.onboarding.label_column import DOUBTFUL
from tasks.onboarding.name_words import score_name, split_name

MAX_GROUPS = 4
"""Largest number of group columns."""
MAX_VALUES = 30
"""Largest number of values of a group column."""
MIN_AGREEMENT = 0.8
"""Share of equal rows from which numbers among the labels' numbers are labels too."""
MIN_ROWS = 5
"""Least mean number of rows of a group."""

NAMES = {
    **dict.fromkeys(("source", "group", "slice", "genre", "domain", "annotator"), 3.0),
    **dict.fromkeys(("rater", "worker", "labeler", "team", "agency", "channel", "suite"), 3.0),
    **dict.fromkeys(("region", "country", "language", "lang", "locale", "product"), 2.5),
    **dict.fromkeys(("department", "site", "dataset", "origin", "protocol", "batch"), 2.5),
    **dict.fromkeys(("gender", "sex", "age", "segment", "category", "type", "round"), 2.0),
    **dict.fromkeys(("split", "fold"), -1.0),
}


def find_groups(
    frame: pl.DataFrame,
    profiles: Mapping[str, ColumnProfile],
    label: str,
    excluded: Collection[str],
) -> tuple[str, ...]:
    """Return the columns that slice the rows well, the best first.

    Columns that say the same as the label, such as its name or a second opinion, are no groups.

    Args:
        frame: Rows of the table.
        profiles: Profiles of its columns.
        label: Label column.
        excluded: Columns that have another role.
    """
    suitable = [
        name
        for name, profile in profiles.items()
        if name not in {label, *excluded} and _is_suitable(profile)
    ]
    suitable = [name for name in suitable if not _holds_labels(frame, profiles, name, label)]
    ranked = sorted(suitable, key=lambda name: (-score_name(name, NAMES), profiles[name].distinct))
    return tuple(ranked[:MAX_GROUPS])


def list_second_labels(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], label: str
) -> list[str]:
    """Return other columns that hold labels: second opinions, predictions, or names of the labels.

    Numbers are not labels because they are among the labels' numbers: the name has to say so, or
    nearly every row has to agree.

    Args:
        frame: Rows of the table.
        profiles: Profiles of its columns.
        label: Label column.
    """
    return [
        name for name in profiles if name != label and _holds_labels(frame, profiles, name, label)
    ]


def _holds_labels(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], name: str, label: str
) -> bool:
    profile = profiles[name]
    if not profile.values or profile.distinct < 2:
        return False
    if not {*profile.values} <= profiles[label].values.keys():
        return _corresponds(frame, profiles, name, label)
    if profile.kind != "number" or _is_named_like_label(name):
        return True
    agreement = (format_values(frame[name]) == format_values(frame[label])).mean()
    return float(agreement or 0.0) >= MIN_AGREEMENT  # type: ignore[arg-type]


def _is_named_like_label(name: str) -> bool:
    words = {*split_name(name)}
    return bool(words & {*split_name("label labels target gold class"), *DOUBTFUL})


def _is_suitable(profile: ColumnProfile) -> bool:
    is_kind = profile.kind in ("text", "boolean") or (profile.kind == "number" and profile.is_whole)
    most = min(MAX_VALUES, profile.rows // MIN_ROWS)
    return is_kind and 2 <= profile.distinct <= most and profile.blank < profile.rows / 2


def _corresponds(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], name: str, label: str
) -> bool:
    """Whether a column determines the label and is determined by it, as the name of a number."""
    if profiles[name].distinct != profiles[label].distinct:
        return False
    pairs = pl.DataFrame([format_values(frame[name]), format_values(frame[label])]).drop_nulls()
    return pairs.n_unique() == profiles[name].distinct
