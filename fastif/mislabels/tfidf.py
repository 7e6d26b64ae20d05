"""What texts are made of, counted: words and pairs of words, or three letters in a row."""

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_matrix
from torch import Tensor

LEAST = 2
"""Texts that a term has to be in."""


def tf_idf(texts: Sequence[Sequence[Int[Tensor, " _"]]]) -> csr_matrix:
    """Words and pairs of neighbouring words of every row, weighted by rarity, rows of length 1.

    Logarithmic counts times logarithmic rarity; what a single row has is left out.

    Args:
        texts: for each text column the tokens of every row.

    >>> import torch
    >>> tf_idf([[torch.tensor([7, 8]), torch.tensor([7, 9])]]).toarray()
    array([[1.],
           [1.]])
    """
    return _weighted(Counter(_words(row)) for row in zip(*texts, strict=True))


def trigrams(texts: Sequence[str]) -> csr_matrix:
    """Every three letters in a row within a word, weighted in the same way.

    They know a word in all its forms, and a language that no tokeniser was made for (Cavnar and
    Trenkle, 1994). A word's first two and last two letters are counted too.

    >>> trigrams(["ab", "ab ab", "abc"]).shape
    (3, 2)
    """
    return _weighted(Counter(_letters(text)) for text in texts)


def _words(row: Sequence[Tensor]) -> Iterator[tuple[int, int, int]]:
    """Of one row: words and pairs, those of each text column by themselves."""
    for place, tokens in enumerate(row):
        words = tokens.tolist()
        yield from ((place, word, -1) for word in words)
        yield from ((place, *pair) for pair in pairwise(words))


def _letters(text: str) -> Iterator[str]:
    for word in text.lower().split():
        edged = f" {word} "
        yield from (edged[i : i + 3] for i in range(len(edged) - 2))


def _weighted(rows: Iterable[Counter]) -> csr_matrix:
    number: dict[Hashable, int] = {}
    columns, times, ends = array("q"), array("q"), array("q", [0])
    for counts in rows:
        for term, count in counts.items():
            columns.append(number.setdefault(term, len(number)))
            times.append(count)
        ends.append(len(columns))
    places, counted = np.frombuffer(columns, np.int64), np.frombuffer(times, np.int64)
    found, n = np.bincount(places, minlength=len(number)), len(ends) - 1
    kept = sorted(term for term, place in number.items() if found[place] >= LEAST)  # type: ignore[type-var]
    # By name: in which order rows come decides nothing.
    column = np.full(len(number), -1)
    column[[number[term] for term in kept]] = range(len(kept))
    there = column[places] >= 0
    row = np.repeat(np.arange(n), np.diff(np.frombuffer(ends, np.int64)))[there]
    values = (1 + np.log(counted[there])) * (1 + np.log(n / found[places[there]]))
    shape = (n, max(1, len(kept)))
    matrix = csr_matrix((values, (row, column[places[there]])), shape)
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    return csr_matrix(matrix.multiply(1 / np.maximum(length, 1e-9)[:, None]))
