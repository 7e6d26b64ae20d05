"""What orchestration takes of 3,000 queries of one second each.

`python -m benchmarks.nightly.overhead` starts a Prefect server as `fastif up` does, and gives
workers shards that sleep a second a query: by threads and by Dask, a task a query and a task a
shard. The overhead is what the wall time is above that of the sleeps alone, shared out evenly.
Afterwards the server is asked for the task runs that it recorded.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

QUERIES, SHARD = 3_000, 64
WORKERS = {"threads": 16, "dask": 4}
"""Dask's are processes, and each imports Prefect by itself."""
LIMITS = {"threads": 0.03, "dask": 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.nightly.overhead"
    )
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--only", help="cases with this in their name, such as 'a query a task'")
    options = parser.parse_args()
    from benchmarks.nightly.server import Server

    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        os.environ |= server.environment
        cases = {
            "threads, a query a task": ("threads", 1),
            "dask, a query a task": ("dask", 1),
            "threads, a shard a task": ("threads", SHARD),
            "dask, a shard a task": ("dask", SHARD),
        }
        cases_measured = {}
        for name, (engine, size) in cases.items():
            if (options.only or "") in name:
                print(name, file=sys.stderr, flush=True)
                cases_measured[name] = measure_case(engine, size, options.queries, server)
                print(cases_measured[name], file=sys.stderr, flush=True)
    from benchmarks.machine import describe
    from benchmarks.page import publish, read_result

    if options.only:  # cases that were measured before stay in the result
        cases_measured = {**read_result("overhead").get("cases", {}), **cases_measured}
    result = {"queries": options.queries, "cases": cases_measured, "machine": describe()}
    if options.queries == QUERIES:
        publish("overhead", result, section(result))
    else:
        print(section(result))
    return 0


def measure_case(engine: str, size: int, queries: int, server) -> dict:
    """One pass over all queries, in shards of this size."""
    from prefect import flow

    from benchmarks.nightly.sleeping import sleep
    from flows.executor_config import LocalDaskConfig, ThreadsConfig
    from flows.executors import start_executor
    from flows.shard_scheduler import Deadline, ShardScheduler
    from storage import plan_shards
    from tasks.runtime.devices import resolve_devices

    shards = plan_shards(queries, size)
    count = WORKERS[engine]
    where = ThreadsConfig() if engine == "threads" else LocalDaskConfig(workers=count)
    times = {}

    @flow(name=f"overhead-{engine}-{size}")
    def night() -> None:
        with start_executor(where, resolve_devices(["cpu"] * count), len(shards)) as workers:
            times["began"] = time.monotonic()
            pass_ = ShardScheduler(
                lambda shard: workers.submit(sleep, shard=shard), workers.count, Deadline()
            )
            for _ in pass_.run(shards):
                pass
            times["ended"] = time.monotonic()
            assert not pass_.failed, pass_.failed[0]

    start = time.monotonic()
    night()
    whole, wall = time.monotonic() - start, times["ended"] - times["began"]
    ideal = makespan([len(shard) for shard in shards], count)
    recorded = server.task_runs(f"overhead-{engine}-{size}", len(shards))
    return {
        "workers": count,
        "tasks": len(shards),
        "ideal": ideal,
        "wall": wall,
        "overhead": wall / ideal - 1,
        "with start and end of the flow": whole / ideal - 1,
        "recorded": recorded,
        "server_mb": server.memory() / 2**20,
    }


def makespan(lengths: list[int], workers: int) -> float:
    """Seconds of the sleeps alone, each worker taking the next when it is free."""
    ends = [0.0] * workers
    for length in lengths:
        first = min(range(workers), key=ends.__getitem__)
        ends[first] += length
    return max(ends)


def section(result: dict) -> str:
    """The section as Markdown."""
    from benchmarks.page import describe_machine, join_parts, table

    rows = []
    for name, case in result["cases"].items():
        limit = LIMITS[name.partition(",")[0]]
        reached = "" if case["overhead"] <= limit else f" (**above {limit:.0%}**)"
        rows.append(
            [
                name,
                f"{case['workers']}",
                f"{case['tasks']:,}",
                f"{case['ideal']:,.0f} s",
                f"{case['wall']:,.1f} s",
                f"{case['overhead']:.1%}{reached}",
                f"{case['with start and end of the flow']:.1%}",
                f"{case['recorded']:,}",
                f"{case['server_mb']:,.0f} MB",
            ]
        )
    head = ["", "workers", "tasks", "sleeps alone", "wall", "overhead", "with the flow's start"]
    head += ["recorded", "server"]
    return join_parts(
        "## What orchestration takes",
        f"`python -m benchmarks.nightly.overhead`, {describe_machine(result)}. "
        f"{result['queries']:,} queries of one second each, asleep, so that more workers than "
        f"cores can be kept busy. An audit gives a task a shard, of {SHARD} queries if not "
        "told otherwise; a task a query is the worst that it could be told. Goals: 3 % on "
        "threads, 5 % on Dask. A Prefect server with the settings of `fastif up`, SQLite.",
        table(head, rows),
    )


if __name__ == "__main__":
    sys.exit(main())
