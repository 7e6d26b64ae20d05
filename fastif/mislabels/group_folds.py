"""Rows cut into folds, so that each is judged by classifiers that have not seen it."""

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.errors import InputError


def assign_group_folds(groups: Int[Tensor, " n"], fold_count: int, seed: int) -> Int[Tensor, " n"]:
    """The fold of each row; rows of a group, such as duplicates, are in one fold.

    Folds hold as many groups as each other, or one more.

    Args:
        groups: of the rows; equal numbers stay together.
        fold_count: of folds; fewer if there are fewer groups.
        seed: of the draw.

    Raises:
        InputError: a single group.

    >>> assign_group_folds(torch.tensor([5, 5, 7, 9]), 3, seed=0).unique().tolist()
    [0, 1, 2]
    """
    _, group_index = groups.unique(return_inverse=True)
    distinct = int(group_index.max()) + 1 if len(group_index) else 0
    if distinct < 2:
        raise InputError(
            "mislabels",
            "two or more different rows, so that one can be judged by the others",
            f"{distinct} among {len(groups)}",
            "Give a table with more texts.",
        )
    generator = torch.Generator().manual_seed(seed)
    group_order = torch.empty(distinct, dtype=torch.long)
    group_order[torch.randperm(distinct, generator=generator)] = torch.arange(distinct)
    return group_order[group_index] % min(fold_count, distinct)
