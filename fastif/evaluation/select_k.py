"""How many candidates it takes to hold most of what a full scan finds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from fastif.attribution.influence import Influences
from fastif.candidates.retrieval import Nearest, Sketched, look_up
from fastif.errors import InputError
from fastif.evaluation.recall import recall

PERCENTS = (1, 2, 5, 10, 20, 50)
AT = 100


@dataclass(frozen=True)
class Rung:
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
class CandidateChoice:
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
    tried: tuple[Rung, ...]


def ladder(count: int) -> tuple[int, ...]:
    """The k that are tried: 1, 2, 5, 10, 20 and 50 % of so many training examples, rounded up.

    >>> ladder(1000), ladder(3)
    ((10, 20, 50, 100, 200, 500), (1, 2))
    """
    return tuple(dict.fromkeys(-(-count * percent // 100) for percent in PERCENTS))


def choose_k(
    search: Nearest | Sketched,
    rows: Float[Tensor, "q d"],
    scanned: Influences,
    target: float,
    ks: Sequence[int],
    weights: Float[Tensor, " q"] | None = None,
) -> CandidateChoice:
    """Try one k after the other on queries whose true top is known.

    The mean decides, not its lower bound: no bound that holds for any distribution can reach 0.95
    with fewer than 72 queries, even if all of them found everything.

    Args:
        search: the method; its own k is not used.
        rows: what the index is asked with for each query, of `searched_rows`.
        scanned: a full scan of the same queries that kept 100 rows at each end.
        target: mean share of the top 100 that is to be found.
        ks: numbers of candidates, ascending.
        weights: what each query stands for.

    Raises:
        InputError: the target is no share.
    """
    if not 0 < target <= 1:
        raise InputError("target recall", "a number > 0, at most 1", f"{target}", "Take 0.95.")
    tried, chosen = [], None
    for k in ks if len(rows) else ():
        found = look_up(replace(search, k=k), rows)
        (one,) = recall(list(found.ids), scanned, at=(AT,), weights=weights)
        tried.append(Rung(k, one.share, one.low, one.high))
        if one.share >= target:
            chosen = k
            break
    at = min(AT, search.index.count)
    return CandidateChoice(chosen, target, at, len(rows), tuple(tried))
