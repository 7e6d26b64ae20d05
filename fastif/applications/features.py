"""Views of texts that no label has touched, made comparable and put side by side."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from torch import Tensor

LEAST = 2
"""Texts that a word or pair of words has to be in."""


def joined(views: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
    """The views side by side: every column of mean 0, every view of the same weight.

    A row's squared length is about 1 whatever the widths, so that one penalty fits all.

    >>> joined([torch.tensor([[0.0], [2.0]])])
    tensor([[-1.],
            [ 1.]])
    """
    scaled = []
    for view in views:
        spread = view.std(0, correction=0)
        known = spread > 1e-6 * spread.max().clamp_min(1e-30)
        columns = torch.where(known, (view - view.mean(0)) / spread.where(known, 1.0), 0.0)
        scaled.append(columns / (max(1, view.shape[1]) * len(views)) ** 0.5)
    return torch.cat(scaled, 1)


def lexical(
    texts: Sequence[Sequence[Int[Tensor, " _"]]], dimensions: int = 300
) -> Float[Tensor, "n d"]:
    """Words and pairs of neighbouring words, weighted by rarity, in few dimensions.

    tf-idf with logarithmic counts, rows of length 1, and their leading singular vectors (latent
    semantic analysis; Deerwester and others, 1990). What the encoder's language is not, this is.

    Args:
        texts: for each text column the tokens of every row.
        dimensions: most that are kept.
    """
    matrix = _tf_idf(texts)
    shape: tuple[int, int] = matrix.shape  # pyright: ignore[reportAssignmentType]
    rank = min(dimensions, min(shape) - 1)
    if rank < 1:
        return torch.zeros(shape[0], 0)
    start = np.random.default_rng(0).standard_normal(min(shape))
    left, sizes, _ = svds(matrix, k=rank, v0=start)
    order = np.argsort(-sizes)
    rows = torch.from_numpy(np.ascontiguousarray((left * sizes)[:, order]))
    signs = rows.sum(0).sign().where(rows.sum(0) != 0, 1.0)
    # In double precision and rounded: where numbers lie in memory changes a product's last digits.
    return (rows * signs).round(decimals=6).float()


def _tf_idf(texts: Sequence[Sequence[Tensor]]) -> csr_matrix:
    counts = [_terms(row) for row in zip(*texts, strict=True)]
    found: Counter[tuple] = Counter()
    for row in counts:
        found.update(row.keys())
    n = len(counts)
    kept = sorted(term for term, times in found.items() if times >= LEAST)
    column = {term: place for place, term in enumerate(kept)}
    rows, columns, values = [], [], []
    for place, terms in enumerate(counts):
        for term, times in sorted(terms.items()):
            if term in column:
                rows.append(place)
                columns.append(column[term])
                values.append((1 + np.log(times)) * (1 + np.log(n / found[term])))
    shape = (n, max(1, len(kept)))
    matrix = csr_matrix((np.array(values), (rows, columns)), shape)
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    return csr_matrix(matrix.multiply(1 / np.maximum(length, 1e-9)[:, None]))


def _terms(row: Sequence[Tensor]) -> Counter[tuple]:
    """Of one row: words and pairs, those of each text column by themselves."""
    found: Counter[tuple] = Counter()
    for place, tokens in enumerate(row):
        words = tokens.tolist()
        found.update((place, word, -1) for word in words)
        found.update((place, *pair) for pair in pairwise(words))
    return found
