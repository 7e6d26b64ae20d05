"""Shards: consecutive ranges of queries that are computed and committed one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Shard:
    """Range of queries `start .. stop - 1`.

    Attributes:
        index: Number of the shard, from 0.
        start: Position of the first query.
        stop: Position after the last query.
    """

    index: int
    start: int
    stop: int

    @property
    def key(self) -> str:
        """Key of the shard in the store.

        Examples:
            >>> Shard(3, 192, 256).key
            '00003'
        """
        return f"{self.index:05d}"

    def __len__(self) -> int:
        """Return the number of queries."""
        return self.stop - self.start


def plan_shards(count: int, size: int) -> tuple[Shard, ...]:
    """Split queries into shards of equal size; the last one may be smaller.

    Args:
        count: Number of queries, 0 or more.
        size: Number of queries a shard, 1 or more.

    Returns:
        The shards in ascending order; empty if `count` is 0.

    Examples:
        >>> [(shard.start, shard.stop) for shard in plan_shards(10, 4)]
        [(0, 4), (4, 8), (8, 10)]

    Raises:
        ValueError: `count` is negative or `size` is not positive.
    """
    if count < 0 or size < 1:
        raise ValueError(f"plan_shards needs count >= 0 and size >= 1, got {count} and {size}")
    starts = range(0, count, size)
    return tuple(Shard(i, start, min(start + size, count)) for i, start in enumerate(starts))
