"""Shapley values of training rows under a classifier of k nearest neighbours."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.errors import InputError


def compute_knn_shapley(
    similarity: Float[Tensor, "q n"],
    labels: Int[Tensor, " n"],
    query_labels: Int[Tensor, " q"],
    k: int = 5,
) -> Float[Tensor, " n"]:
    """KNN-Shapley: the exact Shapley value of each training row (Jia et al., 2019).

    The utility of a set of rows is the mean over the queries of the share, out of k, of the query's
    nearest rows in the set that have its label. The values of all rows sum to the utility of the
    whole set. Rows are sorted once a query; equal similarities keep the order of the rows.

    Args:
        similarity: Similarity of queries and training rows, larger for nearer ones.
        labels: Class of each training row.
        query_labels: Class of each query.
        k: Number of neighbours.

    Raises:
        InputError: There is no query or row, a similarity is NaN, or k is below 1.

    Examples:
        >>> similarity = torch.tensor([[3.0, 2.0, 1.0]])
        >>> compute_knn_shapley(similarity, torch.tensor([1, 0, 1]), torch.tensor([1]), k=1)
        tensor([ 0.8333, -0.1667,  0.3333], dtype=torch.float64)
    """
    queries, count = similarity.shape
    if k < 1 or not queries or not count or bool(similarity.isnan().any()):
        got = f"k = {k}, {queries} queries and {count} rows, or NaN"
        remedy = "Give at least one of each, and similarities that are numbers."
        raise InputError("KNN-Shapley", "k, queries and rows of 1 or more", got, remedy)
    order = similarity.argsort(dim=1, descending=True, stable=True)
    match = (labels[order] == query_labels[:, None]).double()
    rank = torch.arange(1, count + 1, dtype=torch.double)
    last = match[:, -1:] * min(k, count) / (count * k)
    steps = (match[:, :-1] - match[:, 1:]) / k * (rank[:-1].clamp_max(k) / rank[:-1])
    values = torch.cat([steps, last], 1).flip(1).cumsum(1).flip(1)
    return torch.zeros(queries, count).double().scatter_(1, order, values).mean(0)
