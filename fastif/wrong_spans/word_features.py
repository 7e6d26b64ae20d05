"""Surface features of words in their sentence, as a sparse matrix."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix

MIN_COUNT = 2
"""Fewest words with a feature."""
NEIGHBOURS = (-2, -1, 1, 2)
SUFFIXES = (1, 2, 3, 4)


def make_word_features(sentences: Sequence[Sequence[str]]) -> csr_matrix:
    """Return indicators of each word, its affixes, shape and neighbours.

    Rows have norm 1. Features of a single word are left out. No tag is used.

    Returns:
        Sparse matrix, [words, features].

    Examples:
        >>> make_word_features([["Anna", "runs"], ["Anna", "runs"]]).shape[0]
        4
    """
    rows = [set(features) for words in sentences for features in _iterate_features(words)]
    counts = Counter(feature for row in rows for feature in row)
    kept = sorted(feature for feature, count in counts.items() if count >= MIN_COUNT)
    columns = {feature: number for number, feature in enumerate(kept)}
    indices = [sorted(columns[f] for f in row if f in columns) for row in rows]
    lengths = np.array([len(row) for row in indices])
    starts = np.concatenate([[0], lengths.cumsum()])
    weights = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    flat = np.array([column for row in indices for column in row], dtype=np.int64)
    shape = (len(rows), max(len(columns), 1))
    return csr_matrix((weights.astype(np.float32), flat, starts), shape)


def get_shape(word: str) -> str:
    """Return the shape of a word, with runs of equal characters joined.

    Examples:
        >>> get_shape("McDonald's-2")
        "XxXx'x-d"
    """
    shape = []
    for character in word:
        mark = "X" if character.isupper() else "x" if character.isalpha() else character
        mark = "d" if character.isdigit() else mark
        if not shape or shape[-1] != mark:
            shape.append(mark)
    return "".join(shape[:10])


def _iterate_features(words: Sequence[str]) -> Iterator[Iterator[str]]:
    lowered, shapes = [word.lower() for word in words], [get_shape(word) for word in words]
    for place in range(len(words)):
        yield _list_features(lowered, shapes, place)


def _list_features(lowered: Sequence[str], shapes: Sequence[str], place: int) -> Iterator[str]:
    word = lowered[place]
    yield f"word={word}"
    yield f"shape={shapes[place]}"
    yield f"first={place == 0}/{shapes[place]}"
    for length in SUFFIXES:
        yield f"suffix={word[-length:]}"
        yield f"prefix={word[:length]}"
    for offset in NEIGHBOURS:
        other = place + offset
        inside = 0 <= other < len(lowered)
        yield f"word{offset}={lowered[other] if inside else ''}"
        if abs(offset) == 1:
            yield f"shape{offset}={shapes[other] if inside else ''}"
            yield f"pair{offset}={word}/{lowered[other] if inside else ''}"
