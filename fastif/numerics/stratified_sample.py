"""Which few of many to look at so that no group is left out, and what each of them stands for."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Column = Sequence[str | None]
"""The group of each row: its label, its slice."""

RAKING_ROUNDS = 100


def stratified_sample(columns: Sequence[Column], count: int, seed: int) -> Int[Tensor, " m"]:
    """Up to `count` positions, at random but with as many of each group as its size asks for.

    Every group gets one if `count` allows, those of the first column before the others'.

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
    """How many rows each drawn one stands for: the groups' totals are those of all rows.

    Raking (Deming and Stephan, 1940): the totals are set right column by column until they stay,
    those of the first column last; the others' are as near as the few rows allow. Groups without a
    drawn row are left out.

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
