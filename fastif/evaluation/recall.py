"""Recall of candidates: share of the most influential training examples among the candidates."""

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
"""Sizes m of the top-m sets for which recall is computed."""
PERMUTATIONS, SEED = 9_999, 173_205_080


@dataclass(frozen=True)
class Recall:
    """Recall at m: share of a query's m most influential training examples among its candidates.

    Attributes:
        at: Number m of examples with the largest absolute effect, or ranking score.
        queries: Number of queries that were scanned in full.
        share: Weighted mean recall over these queries, from 0 to 1.
        low: Lower bound of the 95 % interval of the mean, see `mean_confidence_interval`.
        high: Upper bound of the 95 % interval of the mean.
        method: Candidate method, if several are united; None for the union.
        label: Label of the queries in this group; None for all.
        slice: Slice of the queries in this group; None for all.
        rest: Mean recall of the queries in all other groups.
        chance: One-sided p-value of a permutation test that the group's mean recall is below the
            rest; None if either side is a single query.
        agreement: Mean Pearson correlation of the candidates' scores with exact ones, over examples
            in both the candidates and the top-k and bottom-k of the full scan.
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
    """Recall of candidates against a full scan of the same queries.

    Args:
        candidates: Positions of the candidates of each query.
        scanned: Full scan that kept at least max(`at`) examples at each end.
        at: Sizes m of the top-m sets, at most the number of training examples.
        weights: Sampling weight [q] of each query; equal by default.
        groups: Group of each query, by "label" or "slice", for the recall of each group.

    Returns:
        Recall of all queries for each size, then that of each group.
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
    """Mean Pearson correlation of candidate scores with exact ones; None if undefined throughout.

    Args:
        candidates: Positions of the candidates of each query.
        effects: Removal effects of the candidates.
        scanned: Full scan; examples in both are compared.
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
    """Recall [q] of each query: share of its top `at` examples among its candidates.

    The top examples are those with the largest absolute removal effect, or ranking score if the
    scan has them.
    """
    ranking = scanned.ranking.masked_fill(scanned.ids == NO_EXAMPLE, 0.0)
    order = ranking.abs().argsort(dim=1, descending=True, stable=True)[:, :at]
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
    """One-sided p-value that the group's mean is below the others', by a permutation test.

    None if either side is a single query, where no difference is significant.
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
