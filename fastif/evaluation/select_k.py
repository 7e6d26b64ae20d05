"""Choice of the number of candidates k by recall against full scans."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from fastif.attribution.influence import Influences
from fastif.candidates.retrieval import IndexSearch
from fastif.errors import InputError
from fastif.evaluation.recall import compute_recall

PERCENTS = (1, 2, 5, 10, 20, 50)
TOP_SIZE = 100


@dataclass(frozen=True)
class KTrial:
    """Recall for one number of candidates.

    Attributes:
        k: Number of candidates for each query.
        share: Mean recall, from 0 to 1.
        low: Lower bound of the 95 % interval of the mean.
        high: Upper bound of the 95 % interval of the mean.
    """

    k: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class KSelection:
    """Smallest number of candidates k with a mean recall of at least the target.

    Attributes:
        k: Selected number of candidates; None if none reaches the target, so a full scan is needed.
        target: Target recall.
        at: Number of most influential examples in the recall.
        queries: Number of queries that were scanned in full.
        tried: Recall of each k in the order of trial, up to the selected one.
    """

    k: int | None
    target: float
    at: int
    queries: int
    tried: tuple[KTrial, ...]


def make_k_grid(count: int) -> tuple[int, ...]:
    """Grid of k: 1, 2, 5, 10, 20 and 50 % of the training examples, rounded up.

    Examples:
        >>> make_k_grid(1000), make_k_grid(3)
        ((10, 20, 50, 100, 200, 500), (1, 2))
    """
    return tuple(dict.fromkeys(-(-count * percent // 100) for percent in PERCENTS))


def select_k(
    search: IndexSearch,
    query_vectors: Float[Tensor, "q d"],
    scanned: Influences,
    target: float,
    ks: Sequence[int],
    weights: Float[Tensor, " q"] | None = None,
) -> KSelection:
    """Select the smallest k with the target recall, on queries with a full scan.

    The mean decides, not its lower bound: no distribution-free bound reaches 0.95 with fewer than
    72 queries, even at a recall of 1 for all of them.

    Args:
        search: Candidate method; its own k is ignored.
        query_vectors: Vectors [q d] of the queries, from `search.compute_query_vectors`.
        scanned: Full scan of the same queries with 100 examples kept at each end.
        target: Target mean recall of the top 100, above 0 and at most 1.
        ks: Numbers of candidates to try, ascending.
        weights: Sampling weight [q] of each query; equal by default.

    Raises:
        InputError: The target is not above 0 and at most 1.
    """
    if not 0 < target <= 1:
        raise InputError("target recall", "a number > 0, at most 1", f"{target}", "Try 0.95.")
    trials, chosen = [], None
    for k in ks if len(query_vectors) else ():
        candidates = replace(search, k=k).search_vectors(query_vectors)
        (summary,) = compute_recall(list(candidates.ids), scanned, at=(TOP_SIZE,), weights=weights)
        trials.append(KTrial(k, summary.share, summary.low, summary.high))
        if summary.share >= target:
            chosen = k
            break
    top_size = min(TOP_SIZE, search.index.count)
    return KSelection(chosen, target, top_size, len(query_vectors), tuple(trials))
