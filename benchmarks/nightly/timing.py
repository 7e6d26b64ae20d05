"""The audit's own task for a shard, with the seconds of its work told."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import Shard
from tasks.audit.attribute import attribute_shard
from tasks.run.spec import RunRef


@task(name="attribute-timed", cache_policy=NO_CACHE)
def timed_shard(shard: Shard, ref: RunRef) -> float:
    """Seconds from the first line of the shard's work to its commit; nothing of Prefect's."""
    start = time.monotonic()
    attribute_shard.fn(shard, ref)
    return time.monotonic() - start
