"""Random split of a table into used and held-out rows, without duplicates across the split."""

import torch
from torch import Tensor

from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests


def split_held_out(table: Table, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split rows at random into used and held-out ones; return their positions.

    Rows of equal content are on the same side, even with different ids: a held-out copy of a used
    row would bias the evaluation.

    Args:
        table: Table to split.
        share: Share of the distinct rows to hold out, from 0 to 1.
        seed: Random seed.
    """
    numbers: dict[bytes, int] = {}
    rows = torch.tensor([numbers.setdefault(c, len(numbers)) for c in content_digests(table)])
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    is_held_out = torch.isin(rows, order[len(numbers) - round(share * len(numbers)) :])
    return (~is_held_out).nonzero().flatten(), is_held_out.nonzero().flatten()


def count_distinct_rows(table: Table) -> int:
    """Number of rows with distinct content."""
    return len(set(content_digests(table)))
