"""Text columns of a table: single columns and pairs of them, the most plausible first."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.onboarding.column_profiles import ColumnProfile
from tasks.onboarding.name_words import score_name, split_name

MIN_SCORE = 1.0
"""Score below which a column is no plausible text."""
MAX_READINGS = 6
"""Largest number of plausible readings."""
UNNAMED_PAIR = 0.5
"""Score of a pair whose names say nothing, beyond that of its less plausible column."""
CLEAR_LEAD = 1.5
"""Difference of scores above which the better column needs no check."""

NAMES = {
    **dict.fromkeys(("text", "texts", "sentence", "message", "content", "review"), 3.0),
    **dict.fromkeys(("comment", "utterance", "tweet", "post", "document", "premise"), 3.0),
    **dict.fromkeys(("hypothesis", "question", "answer", "passage", "body", "phrase"), 3.0),
    **dict.fromkeys(("description", "article", "feedback", "complaint", "request"), 2.5),
    **dict.fromkeys(("transcript", "email", "claim", "evidence", "prompt", "response"), 2.5),
    **dict.fromkeys(("title", "headline", "subject", "summary", "abstract", "context"), 2.0),
    **dict.fromkeys(("input", "query", "snippet", "note", "notes", "caption", "reply"), 2.0),
    **dict.fromkeys(("id", "key", "url", "link", "path", "file", "name", "author"), -3.0),
    **dict.fromkeys(("user", "username", "label", "date", "time", "timestamp"), -3.0),
    **dict.fromkeys(("explanation", "rationale", "reason", "tokens", "parse"), -1.5),
}
PAIRS = (
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "passage"),
    ("question", "context"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "passage"),
    ("claim", "evidence"),
    ("context", "response"),
    ("prompt", "response"),
    ("title", "body"),
    ("title", "text"),
    ("title", "description"),
    ("title", "content"),
    ("headline", "body"),
    ("headline", "text"),
    ("subject", "body"),
    ("subject", "text"),
    ("subject", "message"),
)
"""Names of columns that form a pair, in this order."""
STRONG_PAIRS = 9
"""Number of pairs above that are hardly ever read one column at a time."""


@dataclass(frozen=True)
class TextReading:
    """Plausible text of a table.

    Attributes:
        columns: Names of one column, or of two for pairs of texts.
        score: Plausibility by names and contents.
        is_named: Whether the names suggest this reading; pairs of any two columns are not.
    """

    columns: tuple[str, ...]
    score: float
    is_named: bool = True

    def __str__(self) -> str:
        return " + ".join(self.columns)


def score_text(profile: ColumnProfile) -> float:
    """Return the plausibility of a column as text, by its name and contents."""
    if profile.kind != "text" or profile.is_code:
        return -1.0
    length = min(profile.words, 12.0) / 4 if profile.words > 1.5 else -1.0
    repeated = -2.0 if profile.distinct_share < 0.2 and profile.distinct < 100 else 0.0
    return score_name(profile.name, NAMES) + length + repeated


def rank_texts(profiles: Mapping[str, ColumnProfile], has_model: bool = False) -> list[TextReading]:
    """Return the plausible readings of a table's text, the best first; empty if there is none.

    Args:
        profiles: Profiles of all columns.
        has_model: Whether a model can tell the readings apart; pairs of any names are then read.
    """
    scores = {name: score_text(profile) for name, profile in profiles.items()}
    scores = {name: score for name, score in scores.items() if score >= MIN_SCORE}
    readings = [TextReading((name,), score) for name, score in scores.items()]
    names = sorted(scores, key=lambda name: -scores[name])[:4]
    for first in names:
        for second in names:
            bonus = _score_pair(first, second)
            if first == second:
                continue
            if bonus is not None:
                score = max(scores[first], scores[second]) + bonus
                readings.append(TextReading((first, second), score))
            elif has_model:
                score = min(scores[first], scores[second]) + UNNAMED_PAIR
                readings.append(TextReading((first, second), score, is_named=False))
    return sorted(readings, key=lambda reading: -reading.score)[:MAX_READINGS]


def is_clear(readings: list[TextReading]) -> bool:
    """Whether the first reading needs no check."""
    return len(readings) == 1 or readings[0].score - readings[1].score >= CLEAR_LEAD


def _score_pair(first: str, second: str) -> float | None:
    """Return what a pair is better than its better column; None if the names form no pair."""
    words, others = split_name(first), split_name(second)
    for place, (left, right) in enumerate(PAIRS):
        if left in words and right in others:
            return CLEAR_LEAD if place < STRONG_PAIRS else -0.5
    numbered = {"1": "2", "a": "b", "left": "right", "first": "second", "q": "a"}
    differing = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if len(words) == len(others) and len(differing) == 1:
        return CLEAR_LEAD if numbered.get(differing[0][0]) == differing[0][1] else None
    is_continued = len(others) > len(words) and others[: len(words)] == words
    return CLEAR_LEAD if is_continued and others[-1] in ("pair", "2", "b") else None
