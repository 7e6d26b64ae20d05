"""Which few of many to look at so that no group is left out, and what each of them stands for."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Column = Sequence[str | None]
"""The group of each row: its label, its slice."""

ROUNDS = 100


def stratified(columns: Sequence[Column], count: int, seed: int) -> Int[Tensor, " m"]:
    """Up to `count` positions, at random but with as many of each group as its size asks for.

    Every group gets one if `count` allows, those of the first column before the others'.

    >>> stratified([["a", "a", "a", "a", "b"]], 2, seed=0).tolist()[-1]
    4
    """
    size = len(columns[0])
    codes = [_codes(column) for column in columns]
    due = [torch.bincount(code) * count / size for code in codes]
    held = [torch.zeros_like(each) for each in due]
    order, drawn = _shuffled(size, seed), []
    for _ in range(min(count, size)):
        wanted = torch.zeros(size)
        for place, code in enumerate(codes):
            first = (held[place] == 0) * 2.0 * count * (1 + (place == 0))
            wanted += (due[place] - held[place] + first)[code]
        wanted[drawn] = -torch.inf
        drawn.append(int(order[wanted[order].argmax()]))
        for place, code in enumerate(codes):
            held[place][code[drawn[-1]]] += 1
    return torch.tensor(drawn, dtype=torch.long).sort().values


def raked(columns: Sequence[Column], drawn: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """How many rows each drawn one stands for: the groups' totals are those of all rows.

    Raking (Deming and Stephan, 1940): the totals are set right column by column until they stay,
    those of the first column last; the others' are as near as the few rows allow. Groups without a
    drawn row are left out.

    >>> raked([["a", "a", "a", "b"]], torch.tensor([0, 1, 3])).tolist()
    [1.5, 1.5, 1.0]
    """
    weights = torch.ones(len(drawn), dtype=torch.float64)
    for _ in range(ROUNDS):
        for column in reversed(columns):
            totals = Counter(column)
            mine = [column[i] for i in drawn.tolist()]
            for value in dict.fromkeys(mine):
                chosen = torch.tensor([one == value for one in mine])
                weights[chosen] *= totals[value] / weights[chosen].sum()
    return weights


def _codes(column: Column) -> Int[Tensor, " n"]:
    numbers = {value: number for number, value in enumerate(dict.fromkeys(column))}
    return torch.tensor([numbers[value] for value in column], dtype=torch.long)


def _shuffled(size: int, seed: int) -> Int[Tensor, " n"]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
