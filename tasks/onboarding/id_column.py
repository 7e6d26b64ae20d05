"""Id column of a table: unique values, by name first."""

from collections.abc import Collection, Mapping

from tasks.onboarding.column_profiles import ColumnProfile
from tasks.onboarding.name_words import score_name, split_name

NAMES = {
    **dict.fromkeys(("id", "ids", "uid", "uuid", "guid", "identifier", "key"), 3.0),
    **dict.fromkeys(("idx", "index", "nr", "no", "number", "num", "ref", "reference"), 2.0),
    **dict.fromkeys(("path", "file", "filename"), 1.0),
    **dict.fromkeys(("ticket", "case", "record", "row", "code", "pk"), 1.5),
}
MAX_WORDS = 4
"""Mean number of words above which a column holds texts, not ids."""


def find_id(profiles: Mapping[str, ColumnProfile], excluded: Collection[str]) -> str | None:
    """Return the column of unique ids that the names suggest most, None if there is none."""
    scores = {name: score_id(profile) for name, profile in profiles.items() if name not in excluded}
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] > 0 else None


def score_id(profile: ColumnProfile) -> float:
    """Return the plausibility of a column as id; not positive if it cannot be."""
    is_whole = profile.kind == "number" and profile.is_whole
    is_kind = profile.kind in ("text", "date", "image") or is_whole
    if not profile.is_unique or not is_kind or profile.words > MAX_WORDS:
        return 0.0
    exact = 0.5 if split_name(profile.name) in (("id",), ("uid",), ("uuid",)) else 0.0
    by_name = score_name(profile.name, NAMES) + exact
    if by_name:
        return by_name
    is_opaque = profile.kind == "text" and profile.words < 1.5 and profile.rows >= 20
    return 0.5 if profile.is_code or (is_opaque and profile.characters >= 6) else 0.0
