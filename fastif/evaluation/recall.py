"""Recall: how many of the truly influential training examples the candidates hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import permutation_test
from torch import Tensor

from fastif.attribution.influence import NO_EXAMPLE, Influences
from fastif.numerics.correlation import pearson
from fastif.numerics.mean_confidence_interval import mean_confidence_interval
from fastif.numerics.stratified_sample import Column

DEFAULT_SIZES = (10, 100)
PERMUTATIONS, SEED = 9_999, 173_205_080


@dataclass(frozen=True)
class Recall:
    """Share of a query's `at` most influential examples that are among its candidates.

    Attributes:
        at: examples with the largest effects by size, whatever their sign.
        queries: that were scanned in full to know them.
        share: mean over these queries, each weighed by what it stands for.
        low, high: 95 % interval of the mean, by `mean_confidence_interval`.
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


def compute_recall(
    candidates: Sequence[Int[Tensor, " _"]],
    scanned: Influences,
    at: Sequence[int] = DEFAULT_SIZES,
    *,
    weights: Float[Tensor, " q"] | None = None,
    groups: Mapping[str, Column] | None = None,
) -> list[Recall]:
    """Compare the candidates of some queries with a full scan of the same queries.

    Args:
        candidates: positions of the candidates of each query.
        scanned: a full scan that kept the `at` most harmful and as many most helpful rows.
        at: sizes of the sets that are to be found, cut to the number of training examples.
        weights: what each query stands for; alike if left out.
        groups: "label" or "slice" -> that of each query, for the recall of each of them.

    Returns:
        That of all queries for each of `at`, then those of the groups.
    """
    sizes = dict.fromkeys(min(size, scanned.ids.shape[1]) for size in at)
    shares = {size: recall_at_k(candidates, scanned, size) for size in sizes}
    weights = torch.ones(len(candidates)) if weights is None else weights
    results = [_summarize(size, query_shares, weights) for size, query_shares in shares.items()]
    for kind, column in (groups or {}).items():
        for value in sorted({value for value in column if value is not None}):
            in_group = torch.tensor([entry == value for entry in column])
            for size, query_shares in shares.items():
                results.append(_summarize_group(size, query_shares, weights, in_group, kind, value))
    return results


def compute_score_agreement(
    candidates: Sequence[Int[Tensor, " _"]],
    effects: Sequence[Float[Tensor, " _"]],
    scanned: Influences,
) -> float | None:
    """Mean Pearson correlation of scores with those of a full scan; None if none is defined.

    Args:
        candidates: positions of the candidates of each query.
        effects: their removal effects.
        scanned: a full scan that kept its ends; compared are the rows that both have.
    """
    pairs = zip(candidates, effects, scanned.ids, scanned.removal_effect, strict=True)
    correlations = torch.stack([_correlate(*pair) for pair in pairs])
    return (
        float(correlations[correlations.isfinite()].mean())
        if bool(correlations.isfinite().any())
        else None
    )


def _correlate(ids: Tensor, effects: Tensor, scanned: Tensor, exact: Tensor) -> Tensor:
    matches = ids[:, None] == scanned[None]
    candidate_cells, scanned_cells = matches.nonzero(as_tuple=True)
    return pearson(effects[candidate_cells].double()[None], exact[scanned_cells].double()[None])[0]


def recall_at_k(candidates: Sequence[Tensor], scanned: Influences, at: int) -> Float[Tensor, " q"]:
    """For each query, the share of its `at` most influential examples that were found."""
    effects = scanned.removal_effect.masked_fill(scanned.ids == NO_EXAMPLE, 0.0)
    order = effects.abs().argsort(dim=1, descending=True, stable=True)[:, :at]
    top = scanned.ids.gather(1, order)
    pairs = zip(top, candidates, strict=True)
    return torch.stack(
        [torch.isin(top_ids, candidate_ids).double().mean() for top_ids, candidate_ids in pairs]
    )


def _summarize(at: int, shares: Tensor, weights: Tensor) -> Recall:
    share = float(shares @ weights.double() / weights.double().sum())
    return Recall(at, len(shares), share, *mean_confidence_interval(shares, weights))


def _summarize_group(
    at: int, shares: Tensor, weights: Tensor, in_group: Bool[Tensor, " q"], kind: str, value: str
) -> Recall:
    summary = replace(_summarize(at, shares[in_group], weights[in_group]), **{kind: value})
    if bool(in_group.all()):
        return summary
    rest = _summarize(at, shares[~in_group], weights[~in_group]).share
    return replace(
        summary, rest=rest, chance=_permutation_p_value(shares[in_group], shares[~in_group])
    )


def _permutation_p_value(
    group_shares: Float[Tensor, " a"], other_shares: Float[Tensor, " b"]
) -> float | None:
    """Of a mean so much lower if all queries were alike: one-sided permutation test.

    None where one side is a single query, which could never be told from chance.
    """
    if min(len(group_shares), len(other_shares)) < 2:
        return None
    test = permutation_test(
        (group_shares.numpy(), other_shares.numpy()),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        vectorized=True,
        n_resamples=PERMUTATIONS,
        alternative="less",
        rng=SEED,
    )
    return float(test.pvalue)
