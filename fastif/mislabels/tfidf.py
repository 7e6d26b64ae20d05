"""tf-idf weights of word n-grams and character n-grams, as sparse matrices."""

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_matrix
from torch import Tensor

MIN_TEXTS = 2
"""Minimum document frequency of a term, in texts."""


def tf_idf(texts: Sequence[Sequence[Int[Tensor, " _"]]]) -> csr_matrix:
    """Compute tf-idf weights of word unigrams and bigrams, with rows of norm 1.

        weight = (1 + log count) · (1 + log(n / document frequency))

    Terms of a single text are left out.

    Args:
        texts: Token ids of every row, one sequence a text column.

    Returns:
        Sparse matrix, [n, terms]; terms of different text columns differ.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import tf_idf
        >>> tf_idf([[torch.tensor([7, 8]), torch.tensor([7, 9])]]).toarray()
        array([[1.],
               [1.]])
    """
    return _weight_terms(Counter(_iterate_words(row)) for row in zip(*texts, strict=True))


def char_trigrams(texts: Sequence[str]) -> csr_matrix:
    """Compute tf-idf weights of character trigrams within words (Cavnar and Trenkle, 1994).

    Words are lower-cased and padded with a space on either side. Trigrams match inflected forms,
    and need no tokenizer for the language. Weights are as in `tf_idf`.

    Args:
        texts: One text a row.

    Returns:
        Sparse matrix, [n, terms].

    Examples:
        >>> from fastif.mislabels import char_trigrams
        >>> char_trigrams(["ab", "ab ab", "abc"]).shape
        (3, 2)
    """
    return _weight_terms(Counter(_iterate_trigrams(text)) for text in texts)


def _iterate_words(row: Sequence[Tensor]) -> Iterator[tuple[int, int, int]]:
    """Yield the unigrams and bigrams of one row, numbered by text column."""
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
    # Columns in the order of the terms, so that the order of rows has no effect.
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
