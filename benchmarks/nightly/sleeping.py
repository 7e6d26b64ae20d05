"""A task that sleeps for as long as its shard would take."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import Shard


@task(name="sleep", cache_policy=NO_CACHE, persist_result=False)
def sleep(shard: Shard) -> int:
    """Sleep one second a query; return the number of queries."""
    time.sleep(len(shard))
    return len(shard)
