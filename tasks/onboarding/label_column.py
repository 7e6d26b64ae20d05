"""Label column of a table, by its name, its number of values, and the labels of the model."""

from collections.abc import Collection, Mapping

from tasks.onboarding.column_profiles import ColumnProfile
from tasks.onboarding.label_names import fold_label
from tasks.onboarding.name_words import score_name, split_name
from tasks.study.errors import format_value

MAX_LABELS = 300
"""Largest number of labels that are looked for without a model."""
MIN_SCORE = 1.0
"""Score below which a column is no plausible label."""
CLEAR_LEAD = 1.0
"""Difference of scores above which the better column needs no check."""

NAMES = {
    **dict.fromkeys(("label", "labels", "target", "y", "class", "gold", "verdict"), 3.0),
    **dict.fromkeys(("category", "sentiment", "intent", "polarity", "annotation"), 2.5),
    **dict.fromkeys(("topic", "emotion", "decision", "outcome", "diagnosis", "species"), 2.0),
    **dict.fromkeys(("tag", "type", "status", "rating", "stars", "grade", "result"), 1.5),
    **dict.fromkeys(("toxic", "spam", "hate", "churn", "survived", "is", "has"), 1.5),
    **dict.fromkeys(("default", "exited", "attrition", "approved", "fraud", "income"), 1.5),
    **dict.fromkeys(("quality", "converted", "clicked", "subscribed", "purchased"), 1.5),
}
DOUBTFUL = {
    "pred", "predicted", "prediction", "predictions", "model", "score", "prob", "probability",
    "confidence", "clean", "guess", "guessed", "suggested", "corrected", "old", "previous",
    "annotator", "id", "idx", "split", "fold", "reviewed",
}  # fmt: skip
"""Words of columns that hold another opinion than the label of the row."""


def score_label(profile: ColumnProfile, outputs: Collection[str], count: int | None) -> float:
    """Return the plausibility of a column as label; negative if it cannot be.

    Args:
        profile: Profile of the column.
        outputs: Names of the model's outputs, or label names of the other table.
        count: Number of outputs of the model; None without a model.
    """
    limit = min(MAX_LABELS, max(profile.rows // 2, 2)) if count is None else count
    if profile.kind not in ("text", "number", "boolean") or not profile.values:
        return -1.0
    if not 2 <= profile.distinct <= limit or (profile.kind == "number" and not profile.is_whole):
        return -1.0
    score = _score_evidence(profile, outputs)
    score -= 0.5 if profile.blank else 0.0
    score -= 1.0 if count is None and profile.distinct > 20 else 0.0
    score += 1.0 if count == profile.distinct else 0.0
    return score + (0.5 if profile.distinct <= 20 else 0.0)


def describe_doubt(
    profiles: Mapping[str, ColumnProfile], name: str, outputs: Collection[str]
) -> str:
    """Describe why a column may not be the label; empty if its name or its values tell that it is.

    Args:
        profiles: Profiles of all columns.
        name: Column that was chosen.
        outputs: Names of the model's outputs, or label names of the other table.
    """
    score = _score_evidence(profiles[name], outputs)
    least = max(MIN_SCORE, score + CLEAR_LEAD)
    for other, profile in profiles.items():
        if other != name and _score_words(other) >= least:
            return f"{format_value(other)} is named like a label, but it has {_describe(profile)}"
    return "" if score >= MIN_SCORE else "neither its name nor its values tell that it is the label"


def _describe(profile: ColumnProfile) -> str:
    """Describe what keeps a column from being a label."""
    if profile.distinct == 1:
        return "a single value"
    if profile.kind == "number" and not profile.is_whole:
        return f"numbers with fractions, {profile.distinct:,} values"
    kind = "" if profile.kind in ("text", "number", "boolean") else f" (type {profile.kind})"
    return f"{profile.distinct:,} values{kind}"


def _score_evidence(profile: ColumnProfile, outputs: Collection[str]) -> float:
    outputs = {fold_label(name) for name in outputs}
    matched = sum(fold_label(value) in outputs for value in profile.values)
    return _score_words(profile.name) + 4.0 * matched / max(profile.distinct, 1)


def _score_words(name: str) -> float:
    return score_name(name, NAMES) - (2.0 if DOUBTFUL & {*split_name(name)} else 0.0)


def rank_labels(
    profiles: Mapping[str, ColumnProfile],
    outputs: Collection[str] = (),
    count: int | None = None,
    excluded: Collection[str] = (),
) -> list[tuple[str, float]]:
    """Return the plausible label columns with their scores, the best first.

    If neither names nor values tell the label, every column of few values has the same score.

    Args:
        profiles: Profiles of all columns.
        outputs: Names of the model's outputs, or label names of the other table.
        count: Number of outputs of the model; None without a model.
        excluded: Columns that have another role.
    """
    scores = {
        name: score_label(profile, outputs, count)
        for name, profile in profiles.items()
        if name not in excluded
    }
    # The last column of a table is often its label.
    last = list(profiles)[-1] if profiles else ""
    ranked = sorted(scores, key=lambda name: (-scores[name], name != last))
    named = [(name, scores[name]) for name in ranked if scores[name] >= MIN_SCORE]
    if named:
        return named
    possible = [name for name in ranked if scores[name] >= 0]
    return [(name, 0.0) for name in sorted(possible, key=lambda name: name != last)]
