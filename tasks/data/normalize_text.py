"""When two texts are the same to a reader."""


def letters(text: str) -> str:
    """The letters and digits of a text, in lower case; the text itself if it has none.

    >>> letters("It's 5 o'clock!") == letters("its 5 OCLOCK")
    True
    """
    kept = "".join(c for c in text.casefold() if c.isalnum())
    return kept or text
