"""A failure that says which shard and which queries it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage import Shard
from tasks.retry import MISTAKES


class ShardError(RuntimeError):
    """Something failed while a shard was computed. The others are not touched by it."""


@contextmanager
def named(shard: Shard, run: str) -> Iterator[None]:
    """Name the shard in whatever fails, but for mistakes, which say themselves what to change.

    Raises:
        ShardError: in place of what failed.
    """
    try:
        yield
    except MISTAKES:
        raise
    except Exception as error:
        queries = f"queries {shard.start} to {shard.stop - 1}"
        cause = f"{type(error).__name__}: {error}"
        raise ShardError(f"run {run}, shard {shard.key} ({queries}): {cause}") from error
