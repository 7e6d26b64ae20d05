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
from fastif.mislabels.features import lexical
from fastif.mislabels.knn import neighbours
from fastif.mislabels.tfidf import tf_idf
from tasks.report.run_data import Night

DIMENSIONS = 64
NEAR = 10
WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, eq=False)
class Space:
    """Texts by their words (tf-idf in few dimensions), rows of length 1.

    Attributes:
        train: points of the training rows.
        queries: of the queries.
        near: of each training row the positions of those nearest, itself left out.
        similarity: cosines with these.
        leaks: of each query the nearest training rows.
        leaked: cosines with these.
    """

    train: Float[Tensor, "n d"]
    queries: Float[Tensor, "q d"]
    near: Int[Tensor, "n k"]
    similarity: Float[Tensor, "n k"]
    leaks: Int[Tensor, "q k"]
    leaked: Float[Tensor, "q k"]

    @property
    def flat(self) -> Float[Tensor, "n 2"]:
        """Training rows from above: their two main directions."""
        centred = self.train - self.train.mean(0)
        _, _, axes = torch.pca_lowrank(centred, q=min(2, *centred.shape), center=False)
        flat = centred @ axes
        return torch.nn.functional.pad(flat, (0, 2 - flat.shape[1]))


def space_of(night: Night) -> Space:
    """The rows of a night; made from their texts, so every store can tell it."""
    columns = ["text", "text_pair"] if night.has_pairs else ["text"]
    both = pl.concat([night.train.select(columns), night.queries.select(columns)])
    torch.manual_seed(0)
    terms = tf_idf([_tokens(both[name].fill_null("").to_list()) for name in columns])
    points = lexical(terms, DIMENSIONS)
    points = normalize(points, dim=1)
    train, queries = points[: len(night.train)], points[len(night.train) :]
    k = min(NEAR, len(train) - 1)
    index = CandidateIndex.build(train, "Flat")
    near, leaks = neighbours(train, k), index.search(queries, max(1, k)).ids
    return Space(train, queries, near, _cosines(train, train, near), leaks,
                 _cosines(queries, train, leaks))  # fmt: skip


def _tokens(texts: Sequence[str]) -> list[Tensor]:
    number: dict[str, int] = {}
    found = (WORDS.findall(text.casefold()) for text in texts)
    return [torch.tensor([number.setdefault(w, len(number)) for w in words]) for words in found]


def _cosines(rows: Tensor, others: Tensor, near: Tensor) -> Tensor:
    return torch.stack([(rows * others[column]).sum(1) for column in near.T], 1)
