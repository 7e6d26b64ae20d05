"""When two texts are the same to a reader."""


def normalize_text(text: str) -> str:
    """The letters and digits of a text, in lower case; the text itself if it has none.

    >>> normalize_text("It's 5 o'clock!") == normalize_text("its 5 OCLOCK")
    True
    """
    kept = "".join(c for c in text.casefold() if c.isalnum())
    return kept or text
