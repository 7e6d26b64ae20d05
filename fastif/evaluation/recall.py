"""Recall: how many of the truly influential training examples the candidates hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import permutation_test
from torch import Tensor

from fastif.attribution.influence import UNSEEN, Influences
from fastif.numerics.correlation import pearson
from fastif.numerics.mean_confidence_interval import mean_bounds
from fastif.numerics.stratified_sample import Column

AT = (10, 100)
PERMUTATIONS, SEED = 9_999, 173_205_080


@dataclass(frozen=True)
class Recall:
    """Share of a query's `at` most influential examples that are among its candidates.

    Attributes:
        at: examples with the largest effects by size, whatever their sign.
        queries: that were scanned in full to know them.
        share: mean over these queries, each weighed by what it stands for.
        low, high: 95 % interval of the mean, by `mean_bounds`.
        method: the one of several whose candidates these are; None for all of them together.
        label, slice: the group that the queries are of; None for all.
        rest: mean over the queries of all other groups.
        chance: of a mean so far below that of the rest, were the group like the rest; None where
            one of the two is a single query.
        agreement: mean Pearson correlation of a query's scores with the exact ones, over the rows
            that both the candidates and the ends of the full scan hold.
    """

    at: int
    queries: int
    share: float
    low: float
    high: float
    method: str | None = None
    label: str | None = None
    slice: str | None = None
    rest: float | None = None
    chance: float | None = None
    agreement: float | None = None


def recall(
    found: Sequence[Int[Tensor, " _"]],
    scanned: Influences,
    at: Sequence[int] = AT,
    *,
    weights: Float[Tensor, " q"] | None = None,
    groups: Mapping[str, Column] | None = None,
) -> list[Recall]:
    """Compare the candidates of some queries with a full scan of the same queries.

    Args:
        found: positions of the candidates of each query.
        scanned: a full scan that kept the `at` most harmful and as many most helpful rows.
        at: sizes of the sets that are to be found, cut to the number of training examples.
        weights: what each query stands for; alike if left out.
        groups: "label" or "slice" -> that of each query, for the recall of each of them.

    Returns:
        That of all queries for each of `at`, then those of the groups.
    """
    sizes = dict.fromkeys(min(size, scanned.ids.shape[1]) for size in at)
    shares = {size: found_shares(found, scanned, size) for size in sizes}
    weights = torch.ones(len(found)) if weights is None else weights
    told = [_mean(size, each, weights) for size, each in shares.items()]
    for kind, column in (groups or {}).items():
        for value in sorted({value for value in column if value is not None}):
            mine = torch.tensor([one == value for one in column])
            for size, each in shares.items():
                told.append(_of_group(size, each, weights, mine, kind, value))
    return told


def agreement(
    found: Sequence[Int[Tensor, " _"]], effects: Sequence[Float[Tensor, " _"]], scanned: Influences
) -> float | None:
    """Mean Pearson correlation of scores with those of a full scan; None if none is defined.

    Args:
        found: positions of the candidates of each query.
        effects: their removal effects.
        scanned: a full scan that kept its ends; compared are the rows that both have.
    """
    pairs = zip(found, effects, scanned.ids, scanned.removal_effect, strict=True)
    each = torch.stack([_correlation(*pair) for pair in pairs])
    return float(each[each.isfinite()].mean()) if bool(each.isfinite().any()) else None


def _correlation(ids: Tensor, effects: Tensor, scanned: Tensor, exact: Tensor) -> Tensor:
    both = ids[:, None] == scanned[None]
    mine, theirs = both.nonzero(as_tuple=True)
    return pearson(effects[mine].double()[None], exact[theirs].double()[None])[0]


def found_shares(found: Sequence[Tensor], scanned: Influences, at: int) -> Float[Tensor, " q"]:
    """For each query, the share of its `at` most influential examples that were found."""
    effects = scanned.removal_effect.masked_fill(scanned.ids == UNSEEN, 0.0)
    order = effects.abs().argsort(dim=1, descending=True, stable=True)[:, :at]
    top = scanned.ids.gather(1, order)
    pairs = zip(top, found, strict=True)
    return torch.stack([torch.isin(wanted, mine).double().mean() for wanted, mine in pairs])


def _mean(at: int, shares: Tensor, weights: Tensor) -> Recall:
    share = float(shares @ weights.double() / weights.double().sum())
    return Recall(at, len(shares), share, *mean_bounds(shares, weights))


def _of_group(
    at: int, shares: Tensor, weights: Tensor, mine: Bool[Tensor, " q"], kind: str, value: str
) -> Recall:
    one = replace(_mean(at, shares[mine], weights[mine]), **{kind: value})
    if bool(mine.all()):
        return one
    rest = _mean(at, shares[~mine], weights[~mine]).share
    return replace(one, rest=rest, chance=_chance(shares[mine], shares[~mine]))


def _chance(mine: Float[Tensor, " a"], others: Float[Tensor, " b"]) -> float | None:
    """Of a mean so much lower if all queries were alike: one-sided permutation test.

    None where one side is a single query, which could never be told from chance.
    """
    if min(len(mine), len(others)) < 2:
        return None
    tested = permutation_test(
        (mine.numpy(), others.numpy()),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        vectorized=True,
        n_resamples=PERMUTATIONS,
        alternative="less",
        rng=SEED,
    )
    return float(tested.pvalue)
