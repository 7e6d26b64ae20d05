"""Exception that names the failed shard and its queries."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage import Shard
from tasks.runtime.retries import USER_ERRORS


class ShardError(RuntimeError):
    """Failure of one shard; other shards are unaffected."""


@contextmanager
def name_failed_shard(shard: Shard, run: str) -> Iterator[None]:
    """Wrap exceptions of the block in a `ShardError`, except user errors.

    Raises:
        ShardError: the wrapped exception.
    """
    try:
        yield
    except Exception as error:
        shard_failure = make_shard_error(shard, error, run)
        if shard_failure is error:
            raise
        raise shard_failure from error


def make_shard_error(shard: Shard, error: Exception, run: str, failed_count: int = 1) -> Exception:
    """Make the exception for a failed shard, with its key, queries and cause.

    Args:
        shard: Shard that failed.
        error: Exception that it raised.
        run: Name of the run.
        failed_count: Number of shards that failed in total.
    """
    if isinstance(error, (ShardError, *USER_ERRORS)):
        return error
    queries = f"queries {shard.start} to {shard.stop - 1}"
    others = f" ({failed_count} shards failed in all)" if failed_count > 1 else ""
    cause = f"{type(error).__name__}: {error}{others}"
    failure = ShardError(f"run {run}, shard {shard.key} ({queries}): {cause}")
    failure.__cause__ = error
    return failure
