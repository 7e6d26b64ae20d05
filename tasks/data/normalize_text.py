"""Normalization of texts for the detection of exact duplicates."""


def normalize_text(text: str) -> str:
    """Keep the alphanumeric characters of a text, casefolded; the text itself if it has none.

    >>> normalize_text("It's 5 o'clock!") == normalize_text("its 5 OCLOCK")
    True
    """
    kept = "".join(c for c in text.casefold() if c.isalnum())
    return kept or text
