"""Columns of tables without text: features for the search for wrong labels, or images."""

from collections.abc import Collection, Mapping

import polars as pl

from tasks.data.feature_notes import MAX_KINDS, find_odd_cell
from tasks.onboarding.column_profiles import ColumnProfile
from tasks.onboarding.name_words import split_name
from tasks.onboarding.questions import Reason
from tasks.study.errors import format_value, join_some

MAX_SHARE = 0.5
"""Largest share of distinct values among the rows of a column of categories."""
IMAGE_NAMES = {"image", "img", "picture", "photo", "pixels", "png", "jpg", "bytes"}


def find_image(profiles: Mapping[str, ColumnProfile], excluded: Collection[str] = ()) -> str | None:
    """Return the column that holds images or their paths; None if there is none or several."""
    columns = [
        name
        for name, profile in profiles.items()
        if profile.kind in ("bytes", "image") and name not in excluded
    ]
    named = [name for name in columns if IMAGE_NAMES & {*split_name(name)}]
    return (named or columns)[0] if len(named or columns) == 1 else None


def find_features(
    profiles: Mapping[str, ColumnProfile], excluded: Collection[str]
) -> tuple[str, ...]:
    """Return the columns of numbers, lists of numbers and categories, in the order of the table.

    Args:
        profiles: Profiles of all columns.
        excluded: Columns that have another role.
    """
    return tuple(
        name for name, profile in profiles.items() if name not in excluded and _is_feature(profile)
    )


def explain_left_out(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], excluded: Collection[str]
) -> Reason:
    """Explain which varied columns are no features; numbers with odd cells among them are a doubt.

    Args:
        frame: Rows of the table.
        profiles: Profiles of its columns.
        excluded: Features, and columns that have another role.
    """
    kinds, doubts = [], []
    for name, profile in profiles.items():
        if name in excluded or profile.distinct < 2:
            continue
        kinds.append(f"{format_value(name)} ({profile.kind}, {profile.distinct:,} values)")
        words = frame[name].drop_nulls().unique(maintain_order=True)
        if profile.kind == "text" and (odd := find_odd_cell(words.cast(pl.String))) is not None:
            shown = f"{format_value(name)} is left out, since it holds {format_value(odd, 20)}"
            doubts.append(f"{shown} among numbers: leave such cells empty, or write plain numbers")
    return Reason(f"left out: {join_some(kinds, 6)}" if kinds else "", doubt="; ".join(doubts))


def _is_feature(profile: ColumnProfile) -> bool:
    if profile.kind in ("number", "list"):
        return profile.distinct > 1
    is_varied = 1 < profile.distinct <= min(MAX_KINDS, max(MAX_SHARE * profile.rows, 2))
    return profile.kind in ("text", "boolean") and is_varied
