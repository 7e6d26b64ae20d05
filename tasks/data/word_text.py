"""Text of a sentence of words, from which the words can be read again."""

from collections.abc import Sequence

INNER_SPACE = "␣"
"""Mark of a space within a word, U+2423."""


def join_words(words: Sequence[str]) -> str:
    """Join words by spaces; a space within a word is written as `INNER_SPACE`.

    `split_words` is its inverse for words without that mark.

    Examples:
        >>> join_words(["over", "1 000", "runs"])
        'over 1␣000 runs'
    """
    return " ".join(word.replace(" ", INNER_SPACE) for word in words)


def split_words(text: str) -> list[str]:
    """Split the text of `join_words` into its words.

    Examples:
        >>> split_words("over 1␣000 runs")
        ['over', '1 000', 'runs']
    """
    return [word.replace(INNER_SPACE, " ") for word in text.split(" ")]
