"""What texts are made of, counted: words and pairs of words, or three letters in a row."""

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_matrix
from torch import Tensor

MIN_TEXTS = 2
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
    return _weight_terms(Counter(_iterate_words(row)) for row in zip(*texts, strict=True))


def char_trigrams(texts: Sequence[str]) -> csr_matrix:
    """Every three letters in a row within a word, weighted in the same way.

    They know a word in all its forms, and a language that no tokeniser was made for (Cavnar and
    Trenkle, 1994). A word's first two and last two letters are counted too.

    >>> char_trigrams(["ab", "ab ab", "abc"]).shape
    (3, 2)
    """
    return _weight_terms(Counter(_iterate_trigrams(text)) for text in texts)


def _iterate_words(row: Sequence[Tensor]) -> Iterator[tuple[int, int, int]]:
    """Of one row: words and pairs, those of each text column by themselves."""
    for column, tokens in enumerate(row):
        words = tokens.tolist()
        yield from ((column, word, -1) for word in words)
        yield from ((column, *pair) for pair in pairwise(words))


def _iterate_trigrams(text: str) -> Iterator[str]:
    for word in text.lower().split():
        padded = f" {word} "
        yield from (padded[i : i + 3] for i in range(len(padded) - 2))


def _weight_terms(rows: Iterable[Counter]) -> csr_matrix:
    term_ids: dict[Hashable, int] = {}
    columns, term_counts, row_ends = array("q"), array("q"), array("q", [0])
    for counts in rows:
        for term, count in counts.items():
            columns.append(term_ids.setdefault(term, len(term_ids)))
            term_counts.append(count)
        row_ends.append(len(columns))
    cell_terms, cell_counts = np.frombuffer(columns, np.int64), np.frombuffer(term_counts, np.int64)
    document_counts, n = np.bincount(cell_terms, minlength=len(term_ids)), len(row_ends) - 1
    kept = sorted(
        term  # type: ignore[type-var]
        for term, term_id in term_ids.items()
        if document_counts[term_id] >= MIN_TEXTS
    )
    # By name: in which order rows come decides nothing.
    column = np.full(len(term_ids), -1)
    column[[term_ids[term] for term in kept]] = range(len(kept))
    is_kept = column[cell_terms] >= 0
    row = np.repeat(np.arange(n), np.diff(np.frombuffer(row_ends, np.int64)))[is_kept]
    values = (1 + np.log(cell_counts[is_kept])) * (
        1 + np.log(n / document_counts[cell_terms[is_kept]])
    )
    shape = (n, max(1, len(kept)))
    matrix = csr_matrix((values, (row, column[cell_terms[is_kept]])), shape)
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    return csr_matrix(matrix.multiply(1 / np.maximum(length, 1e-9)[:, None]))
