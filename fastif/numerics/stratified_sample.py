"""Stratified samples over several groupings, and raking weights."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Column = Sequence[str | None]
"""Group of each row, such as its label or its slice; None for no group."""

RAKING_ROUNDS = 100


def stratified_sample(columns: Sequence[Column], count: int, seed: int) -> Int[Tensor, " m"]:
    """Random sample of up to `count` positions, proportional to group sizes in several groupings.

    Every group gets one row if `count` permits, groups of the first column before those of others.

    Args:
        columns: Groups of all rows, one sequence for each grouping.
        count: Largest number of rows to sample.
        seed: Random seed of the sample.

    Examples:
        >>> stratified_sample([["a", "a", "a", "a", "b"]], 2, seed=0).tolist()[-1]
        4
    """
    size = len(columns[0])
    codes = [_encode_groups(column) for column in columns]
    expected_counts = [torch.bincount(code) * count / size for code in codes]
    sampled_counts = [torch.zeros_like(counts) for counts in expected_counts]
    order, sampled = _random_permutation(size, seed), []
    for _ in range(min(count, size)):
        priority = torch.zeros(size)
        for place, code in enumerate(codes):
            first = (sampled_counts[place] == 0) * 2.0 * count * (1 + (place == 0))
            priority += (expected_counts[place] - sampled_counts[place] + first)[code]
        priority[sampled] = -torch.inf
        sampled.append(int(order[priority[order].argmax()]))
        for place, code in enumerate(codes):
            sampled_counts[place][code[sampled[-1]]] += 1
    return torch.tensor(sampled, dtype=torch.long).sort().values


def raking_weights(columns: Sequence[Column], sampled: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Raking weights (Deming and Stephan, 1940): rows represented by each sampled row.

    Iterative proportional fitting adjusts the weighted group totals to those of all rows, column by
    column with the first column last. Totals of the other columns are as close as the few sampled
    rows permit. Groups without a sampled row are ignored.

    Args:
        columns: Groups of all rows, one sequence for each grouping.
        sampled: Positions [m] of the sampled rows.

    Examples:
        >>> raking_weights([["a", "a", "a", "b"]], torch.tensor([0, 1, 3])).tolist()
        [1.5, 1.5, 1.0]
    """
    weights = torch.ones(len(sampled), dtype=torch.float64)
    for _ in range(RAKING_ROUNDS):
        for column in reversed(columns):
            totals = Counter(column)
            sampled_groups = [column[i] for i in sampled.tolist()]
            for value in dict.fromkeys(sampled_groups):
                is_member = torch.tensor([group == value for group in sampled_groups])
                weights[is_member] *= totals[value] / weights[is_member].sum()
    return weights


def _encode_groups(column: Column) -> Int[Tensor, " n"]:
    numbers = {value: number for number, value in enumerate(dict.fromkeys(column))}
    return torch.tensor([numbers[value] for value in column], dtype=torch.long)


def _random_permutation(size: int, seed: int) -> Int[Tensor, " n"]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
