"""Parts of the training rows, scanned by workers that would have no shard of their own."""

from collections.abc import Sequence
from queue import SimpleQueue

from prefect.futures import PrefectFuture

from flows.executor_config import AnyExecutorConfig, ThreadsConfig
from flows.executors import Executor
from flows.presence import WorkerPresence
from storage import Shard
from tasks.audit.scan_part import can_split, scan_part
from tasks.run.context import RunContext
from tasks.run.spec import RunRef
from tasks.runtime.progress import print_line


def count_useful_workers(
    engine: AnyExecutorConfig, context: RunContext, shards: Sequence[Shard]
) -> int:
    """Return the largest useful number of workers: one a shard, or more that scan parts of rows."""
    if not shards or isinstance(engine, ThreadsConfig) or not can_split(context):
        return len(shards)
    return max(len(shards), len(context.train_examples))


def scan_parts(executor: Executor, shards: Sequence[Shard], ref: RunRef) -> int:
    """Scan the training rows of few shards in parts, one task a part; return the number of parts.

    The parts that a worker stored are merged when their shard is attributed, which scans those of
    a failed task or a lost worker itself. Threads of one process share a scan without this.
    """
    parts = executor.count() // len(shards) if executor.remote and shards else 1
    if parts <= 1:
        return 1
    futures = [
        executor.submit(scan_part, shard=shard, ref=ref, place=place, count=parts)
        for shard in shards
        for place in range(parts)
    ]
    results: SimpleQueue[PrefectFuture] = SimpleQueue()
    for future in futures:
        future.add_done_callback(results.put)
    presence = WorkerPresence(executor.count)
    for _ in futures:
        finished = presence.wait(results)
        try:
            finished.result()
        except Exception as error:  # of the task or its worker
            print_line(f"A part of a scan failed and is scanned again with its shard: {error}")
    return parts
