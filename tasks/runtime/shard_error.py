"""A failure that says which shard and which queries it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage import Shard
from tasks.runtime.retries import MISTAKES


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
    except Exception as error:
        found = shard_error(shard, error, run)
        if found is error:
            raise
        raise found from error


def shard_error(shard: Shard, error: Exception, run: str, failed: int = 1) -> Exception:
    """What to raise for a shard that failed: it names the shard, the queries and the cause.

    Args:
        shard: that failed.
        error: the cause.
        run: its run.
        failed: how many shards did.
    """
    if isinstance(error, (ShardError, *MISTAKES)):
        return error
    queries = f"queries {shard.start} to {shard.stop - 1}"
    others = f" ({failed} shards failed in all)" if failed > 1 else ""
    cause = f"{type(error).__name__}: {error}{others}"
    found = ShardError(f"run {run}, shard {shard.key} ({queries}): {cause}")
    found.__cause__ = error
    return found
