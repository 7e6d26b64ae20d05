"""A failure that says which shard and which queries it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage import Shard
from tasks.runtime.retries import USER_ERRORS


class ShardError(RuntimeError):
    """Something failed while a shard was computed. The others are not touched by it."""


@contextmanager
def name_failed_shard(shard: Shard, run: str) -> Iterator[None]:
    """Name the shard in whatever fails, but for mistakes, which say themselves what to change.

    Raises:
        ShardError: in place of what failed.
    """
    try:
        yield
    except Exception as error:
        shard_failure = make_shard_error(shard, error, run)
        if shard_failure is error:
            raise
        raise shard_failure from error


def make_shard_error(shard: Shard, error: Exception, run: str, failed_count: int = 1) -> Exception:
    """What to raise for a shard that failed: it names the shard, the queries and the cause.

    Args:
        shard: that failed.
        error: the cause.
        run: its run.
        failed_count: how many shards did.
    """
    if isinstance(error, (ShardError, *USER_ERRORS)):
        return error
    queries = f"queries {shard.start} to {shard.stop - 1}"
    others = f" ({failed_count} shards failed in all)" if failed_count > 1 else ""
    cause = f"{type(error).__name__}: {error}{others}"
    failure = ShardError(f"run {run}, shard {shard.key} ({queries}): {cause}")
    failure.__cause__ = error
    return failure
