"""Group k-fold assignment: rows of a group, such as duplicates, are in one fold."""

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.errors import InputError


def assign_group_folds(groups: Int[Tensor, " n"], fold_count: int, seed: int) -> Int[Tensor, " n"]:
    """Assign groups of rows at random to folds of equal numbers of groups (group k-fold).

    Args:
        groups: Group of each row; rows with equal numbers share a fold, [n].
        fold_count: Number of folds; fewer if there are fewer groups.
        seed: Random seed of the assignment.

    Returns:
        Fold index of each row, [n].

    Raises:
        InputError: All rows are in one group.

    Examples:
        >>> assign_group_folds(torch.tensor([5, 5, 7, 9]), 3, seed=0).unique().tolist()
        [0, 1, 2]
    """
    _, group_index = groups.unique(return_inverse=True)
    distinct = int(group_index.max()) + 1 if len(group_index) else 0
    if distinct < 2:
        raise InputError(
            "mislabels",
            "two or more distinct rows, since a row's classifier is trained on the others",
            f"{distinct} distinct among {len(groups)}",
            "Add distinct rows to the table.",
        )
    generator = torch.Generator().manual_seed(seed)
    group_order = torch.empty(distinct, dtype=torch.long)
    group_order[torch.randperm(distinct, generator=generator)] = torch.arange(distinct)
    return group_order[group_index] % min(fold_count, distinct)
