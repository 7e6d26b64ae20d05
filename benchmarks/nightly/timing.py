"""The shard task of an audit, which returns the seconds of its work."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import Shard
from tasks.audit.attribute import attribute_shard
from tasks.run.spec import RunRef


@task(name="attribute-timed", cache_policy=NO_CACHE)
def timed_shard(shard: Shard, ref: RunRef) -> float:
    """Return seconds from the first line of the work to its commit, without those of Prefect."""
    start = time.monotonic()
    attribute_shard.fn(shard, ref)
    return time.monotonic() - start
