"""Group columns of a table: columns with few values by which results are sliced."""

from collections.abc import Collection, Mapping

import polars as pl

from tasks.onboarding.column_profiles import ColumnProfile, format_values
from tasks.onboarding.name_words import score_name

MAX_GROUPS = 4
"""Largest number of group columns."""
MAX_VALUES = 30
"""Largest number of values of a group column."""
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
    suitable = [name for name in suitable if not repeats_label(frame, profiles, name, label)]
    ranked = sorted(suitable, key=lambda name: (-score_name(name, NAMES), profiles[name].distinct))
    return tuple(ranked[:MAX_GROUPS])


def list_second_labels(profiles: Mapping[str, ColumnProfile], label: str) -> list[str]:
    """Return other columns whose values are label values: second opinions, or predictions."""
    labels = profiles[label].values.keys()
    return [
        name
        for name, profile in profiles.items()
        if name != label and profile.values and profile.distinct > 1 and {*profile.values} <= labels
    ]


def _is_suitable(profile: ColumnProfile) -> bool:
    is_kind = profile.kind in ("text", "boolean") or (profile.kind == "number" and profile.is_whole)
    most = min(MAX_VALUES, profile.rows // MIN_ROWS)
    return is_kind and 2 <= profile.distinct <= most and profile.blank < profile.rows / 2


def repeats_label(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], name: str, label: str
) -> bool:
    """Whether a column has the label's values, or determines the label and is determined by it."""
    if {*profiles[name].values} <= {*profiles[label].values}:
        return True
    if profiles[name].distinct != profiles[label].distinct:
        return False
    pairs = pl.DataFrame([format_values(frame[name]), format_values(frame[label])]).drop_nulls()
    return pairs.n_unique() == profiles[name].distinct
