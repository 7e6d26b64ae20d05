"""Baseline scores without curvature: gradients, embeddings, BM25."""

import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

import fastif
from fastif.gradients.per_example import compute_loss_gradients

BATCH = 64


def gradient_product(
    objective: fastif.Objective, train: fastif.Examples, queries: fastif.Examples
) -> Float[Tensor, "q n"]:
    """∇L(query)ᵀ ∇L(train): TracIn (Pruthi et al., 2020) with the final weights only."""
    return _products(objective, train, queries)[0]


def gradient_cosine(
    objective: fastif.Objective, train: fastif.Examples, queries: fastif.Examples
) -> Float[Tensor, "q n"]:
    """Return the cosine of the two gradients; 0 if one of them is zero."""
    products, query_norms, train_norms = _products(objective, train, queries)
    return products / (query_norms[:, None] * train_norms[None]).clamp_min(
        torch.finfo(query_norms.dtype).tiny
    )


def embedding_cosine(
    objective: fastif.Objective, train: fastif.Examples, queries: fastif.Examples
) -> Float[Tensor, "q n"]:
    """Return the cosine of the final representations."""
    rows = [
        F.normalize(fastif.compute_embeddings(objective, e, fastif.all_ids(e)))
        for e in (queries, train)
    ]
    return rows[0] @ rows[1].T


def signed_embedding_cosine(
    objective: fastif.Objective, train: fastif.Examples, queries: fastif.Examples
) -> Float[Tensor, "q n"]:
    """Return the embedding cosine, negated where the labels differ."""
    query_labels, train_labels = (e.take(fastif.all_ids(e))["labels"] for e in (queries, train))
    sign = (query_labels[:, None] == train_labels[None]).float() * 2 - 1
    return embedding_cosine(objective, train, queries) * sign


def bm25(train: Sequence[str], queries: Sequence[str]) -> Float[Tensor, "q n"]:
    """Return the BM25 similarity of two texts (the variant of Lucene, by bm25s).

    >>> scores = bm25(["a good film", "a bad cake"], ["good film!", "cake"])
    >>> scores.argmax(1)
    tensor([0, 1])
    """
    import bm25s  # in the extra bench-peers, not needed by the other baselines

    index = bm25s.BM25()
    index.index([_words(text) for text in train], show_progress=False)
    return torch.stack([torch.from_numpy(index.get_scores(_words(text))) for text in queries])


Baseline = Callable[
    [fastif.Objective, fastif.Examples, fastif.Examples],
    Float[Tensor, "q n"],
]
BASELINES: dict[str, Baseline] = {
    "gradient product": gradient_product,
    "gradient cosine": gradient_cosine,
    "embedding cosine": embedding_cosine,
    "embedding cosine, signed by label": signed_embedding_cosine,
}
"""Return all baseline scores of a model by name; positive if the row helps."""


def _products(
    objective: fastif.Objective, train: fastif.Examples, queries: fastif.Examples
) -> tuple[Float[Tensor, "q n"], Float[Tensor, " q"], Float[Tensor, " n"]]:
    """Return the products of all pairs of gradients, and their norms, in one pass."""
    gradients = fastif.Gradients(objective)
    query_gradients = compute_loss_gradients(gradients, queries.with_batch_size(BATCH))
    products = query_gradients.new_empty(len(queries), len(train))
    lengths = query_gradients.new_empty(len(train))
    for places, batch in train.batches(size=BATCH):
        tile = gradients.compute_loss_tile(batch)
        products[:, places], lengths[places] = tile.dot(query_gradients), tile.gradients.norm(dim=1)
    return products, query_gradients.norm(dim=1), lengths


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
