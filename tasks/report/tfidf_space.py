"""Training rows and queries as points: what is near, what is alone, how it looks from above."""

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
from tasks.report.run_data import RunData

DIMENSIONS = 64
NEIGHBOURS = 10
WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, eq=False)
class TfidfSpace:
    """Texts by their words (tf-idf in few dimensions), rows of length 1.

    Attributes:
        train: points of the training rows.
        queries: of the queries.
        neighbours: of each training row the positions of those nearest, itself left out.
        similarity: cosines with these.
        query_neighbours: of each query the nearest training rows.
        query_similarity: cosines with these.
    """

    train: Float[Tensor, "n d"]
    queries: Float[Tensor, "q d"]
    neighbours: Int[Tensor, "n k"]
    similarity: Float[Tensor, "n k"]
    query_neighbours: Int[Tensor, "q k"]
    query_similarity: Float[Tensor, "q k"]

    @property
    def projection(self) -> Float[Tensor, "n 2"]:
        """Training rows from above: their two main directions."""
        centred = self.train - self.train.mean(0)
        _, _, axes = torch.pca_lowrank(centred, q=min(2, *centred.shape), center=False)
        projected = centred @ axes
        return torch.nn.functional.pad(projected, (0, 2 - projected.shape[1]))


def make_tfidf_space(data: RunData) -> TfidfSpace:
    """The rows of a night; made from their texts, so every store can tell it."""
    columns = ["text", "text_pair"] if data.has_pairs else ["text"]
    texts = pl.concat([data.train.select(columns), data.queries.select(columns)])
    torch.manual_seed(0)
    terms = tf_idf([_tokenize(texts[name].fill_null("").to_list()) for name in columns])
    points = compute_lsa(terms, DIMENSIONS)
    points = normalize(points, dim=1)
    train, queries = points[: len(data.train)], points[len(data.train) :]
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
        torch.tensor([vocabulary.setdefault(w, len(vocabulary)) for w in words])
        for words in tokenized
    ]


def _compute_cosines(rows: Tensor, others: Tensor, neighbours: Tensor) -> Tensor:
    return torch.stack([(rows * others[column]).sum(1) for column in neighbours.T], 1)
