"""Plausibility of a text that was decoded as Windows-1252.

Every 8-bit encoding decodes almost any bytes, so a text in another one becomes wrong characters
without an error. They have patterns that texts in western European languages lack.
"""

import re

_CODE_PAGE_LETTERS = "ƒŠŒŽšœžŸªµºÀ-ÖØ-öø-ÿ"
_WORD = re.compile(rf"[A-Za-z{_CODE_PAGE_LETTERS}]*[^\x00-\x7f]\S*")
_SIGNS = "ˆ†‡‰‹›˜„‚•¢¥¦§¨¬¯±²³¶¸¹¼½¾"  # noqa: RUF001
_PATTERNS = (
    (
        re.compile(rf"[{_CODE_PAGE_LETTERS}{_SIGNS}]{{3}}"),
        "runs of accented characters, as of Cyrillic, Greek or Asian texts",
    ),
    (
        re.compile(r"(?<=[a-z])[ŠŒŽŸÀ-ÖØ-Þ](?=[a-z])"),
        "accented capitals inside words, as of texts from a Macintosh",
    ),
    (
        re.compile(rf"(?<=[A-Za-z])[{_SIGNS}”¡¿°](?=[a-z])"),
        "signs inside words, as of central European or DOS texts",
    ),
    (re.compile(r"[ðþÐÞ¤]"), "characters of Icelandic, or of Turkish, Baltic or Vietnamese texts"),
)
_MAX_SHARE = 0.02
"""Largest share of words with accented characters that may have one of the patterns."""
_RIVALS = (("øØ", "èìùÈÌÙ"), ("õÕ", "öüÖÜûÛ"), ("èÈ", "šžŠŽ"), ("æÆ", "èÈ"))
"""Characters that are rarely together in a western European text, but are in Czech, Hungarian,
Croatian or Estonian text that was decoded wrongly."""


def find_implausible(text: str) -> str:
    """Reason why a text can hardly be Windows-1252; empty if it is plausible."""
    words = _WORD.findall(text)
    limit = _MAX_SHARE * len(words)
    for pattern, reason in _PATTERNS:
        if sum(pattern.search(word) is not None for word in words) > limit:
            return reason
    for first, second in _RIVALS:
        if min(_count_words(words, first), _count_words(words, second)) > limit:
            return f"{first[0]} together with {second[0]}, as of central European texts"
    return ""


def _count_words(words: list[str], alphabet: str) -> int:
    return sum(not set(alphabet).isdisjoint(word) for word in words)
