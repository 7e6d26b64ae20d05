"""Halves of a table: rows that are used, and rows by which the use is judged."""

import torch
from torch import Tensor

from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests


def split_held_out(table: Table, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of rows that are used, and of those held out, by chance.

    Rows of one content go to one side, whatever their ids: a copy of a used row judges nothing.

    Args:
        table: rows.
        share: of the different rows, that is held out.
        seed: of the chance.
    """
    numbers: dict[bytes, int] = {}
    rows = torch.tensor([numbers.setdefault(c, len(numbers)) for c in content_digests(table)])
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    is_held_out = torch.isin(rows, order[len(numbers) - round(share * len(numbers)) :])
    return (~is_held_out).nonzero().flatten(), is_held_out.nonzero().flatten()


def count_distinct_rows(table: Table) -> int:
    """How many rows of different content there are."""
    return len(set(content_digests(table)))
