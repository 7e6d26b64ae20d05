"""Rows cut into folds, so that each is judged by classifiers that have not seen it."""

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.errors import InputError


def folds(groups: Int[Tensor, " n"], count: int, seed: int) -> Int[Tensor, " n"]:
    """The fold of each row; rows of a group, such as duplicates, are in one fold.

    Folds hold as many groups as each other, or one more.

    Args:
        groups: of the rows; equal numbers stay together.
        count: of folds; fewer if there are fewer groups.
        seed: of the draw.

    Raises:
        InputError: a single group.

    >>> folds(torch.tensor([5, 5, 7, 9]), 3, seed=0).unique().tolist()
    [0, 1, 2]
    """
    _, places = groups.unique(return_inverse=True)
    distinct = int(places.max()) + 1 if len(places) else 0
    if distinct < 2:
        raise InputError(
            "mislabels",
            "two or more different rows, so that one can be judged by the others",
            f"{distinct} among {len(groups)}",
            "Give a table with more texts.",
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(distinct, dtype=torch.long)
    drawn[torch.randperm(distinct, generator=generator)] = torch.arange(distinct)
    return drawn[places] % min(count, distinct)
