"""How many candidates it takes to hold most of what a full scan finds."""

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
    """One number of candidates that was tried.

    Attributes:
        k: candidates a query.
        share: mean recall.
        low, high: its 95 % interval.
    """

    k: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class KSelection:
    """The least k whose mean recall reaches a target.

    Attributes:
        k: None if none does, and every training example is to be scored.
        target: the recall that was asked for.
        at: the most influential examples of which it is the share.
        queries: that were scanned in full.
        tried: up to the one that was chosen.
    """

    k: int | None
    target: float
    at: int
    queries: int
    tried: tuple[KTrial, ...]


def make_k_grid(count: int) -> tuple[int, ...]:
    """The k that are tried: 1, 2, 5, 10, 20 and 50 % of so many training examples, rounded up.

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
    """Try one k after the other on queries whose true top is known.

    The mean decides, not its lower bound: no bound that holds for any distribution can reach 0.95
    with fewer than 72 queries, even if all of them found everything.

    Args:
        search: the method; its own k is not used.
        query_vectors: what the index is asked with for each query, its `compute_query_vectors`.
        scanned: a full scan of the same queries that kept 100 rows at each end.
        target: mean share of the top 100 that is to be found.
        ks: numbers of candidates, ascending.
        weights: what each query stands for.

    Raises:
        InputError: the target is no share.
    """
    if not 0 < target <= 1:
        raise InputError("target recall", "a number > 0, at most 1", f"{target}", "Take 0.95.")
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
