"""Latent semantic analysis of training rows and queries: vectors and neighbours."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from fastif import CandidateIndex
from fastif.mislabels.features import compute_lsa
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.tfidf import tf_idf
from tasks.report.report_rows import ReportRows

DIMENSIONS = 64
NEIGHBOURS = 10
WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, eq=False)
class TfidfSpace:
    """Texts as unit vectors: truncated SVD of their tf-idf matrix (Deerwester et al., 1990).

    Attributes:
        train: Vectors of the training rows, [n, d].
        queries: Vectors of the queries, [q, d].
        neighbours: Positions of the nearest other training rows of each training row, [n, k].
        similarity: Cosine similarities to them, [n, k].
        query_neighbours: Positions of the nearest training rows of each query, [q, k].
        query_similarity: Cosine similarities to them, [q, k].
    """

    train: Float[Tensor, "n d"]
    queries: Float[Tensor, "q d"]
    neighbours: Int[Tensor, "n k"]
    similarity: Float[Tensor, "n k"]
    query_neighbours: Int[Tensor, "q k"]
    query_similarity: Float[Tensor, "q k"]


def make_tfidf_space(data: ReportRows) -> TfidfSpace:
    """Compute the vectors of a report's rows from their texts."""
    columns = ["text", "text_pair"] if data.has_pairs else ["text"]
    texts = pl.concat([data.train.select(columns), data.queries.select(columns)])
    torch.manual_seed(0)
    terms = tf_idf([_tokenize(texts[name].fill_null("").to_list()) for name in columns])
    return make_space(compute_lsa(terms, DIMENSIONS), len(data.train))


def make_space(vectors: Float[Tensor, "m d"], train_rows: int) -> TfidfSpace:
    """Normalize vectors of rows, and search for the nearest training rows of each.

    Args:
        vectors: Vectors of the training rows, then of the queries, [n + q, d].
        train_rows: Number n of training rows.
    """
    points = normalize(vectors, dim=1)
    train, queries = points[:train_rows], points[train_rows:]
    k = min(NEIGHBOURS, len(train) - 1)
    index = CandidateIndex.build(train, "Flat")
    train_neighbours, query_neighbours = (
        find_neighbours(train, k),
        index.search(queries, max(1, k)).ids,
    )
    return TfidfSpace(
        train,
        queries,
        train_neighbours,
        _compute_cosines(train, train, train_neighbours),
        query_neighbours,
        _compute_cosines(queries, train, query_neighbours),
    )


def _tokenize(texts: Sequence[str]) -> list[Tensor]:
    vocabulary: dict[str, int] = {}
    tokenized = (WORDS.findall(text.casefold()) for text in texts)
    return [
        torch.tensor([vocabulary.setdefault(w, len(vocabulary)) for w in words], dtype=torch.long)
        for words in tokenized
    ]


def _compute_cosines(rows: Tensor, others: Tensor, neighbours: Tensor) -> Tensor:
    if not neighbours.shape[1]:  # a single row
        return torch.zeros(neighbours.shape)
    return torch.stack([(rows * others[column]).sum(1) for column in neighbours.T], 1)
