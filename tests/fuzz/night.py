"""Changes of a random study between its first and its second run."""

from dataclasses import dataclass
from typing import Literal

Ids = Literal["column", "row numbers", "reused"]


@dataclass(frozen=True)
class Night:
    """Changes between the first and the second run.

    Attributes:
        gone, added, relabelled, reweighted, edited: Numbers of training rows.
        front: Whether new rows come first.
        shuffled: Whether the table is in another order.
        new_queries: Number of replaced queries.
        model: Whether the weights differ.
        damping: New damping; None keeps it.
        ids: Naming of rows: a column of the same ids, by their row number, or ids of rows that
            are gone given to the new ones.
        carry: Least share of the training rows for `[carry]`; None without the section.
    """

    gone: int = 0
    added: int = 0
    relabelled: int = 0
    reweighted: int = 0
    edited: int = 0
    front: bool = False
    shuffled: bool = False
    new_queries: int = 0
    model: bool = False
    damping: float | None = None
    ids: Ids = "column"
    carry: float | None = None
