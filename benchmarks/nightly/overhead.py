"""Overhead of orchestration for 3,000 queries that sleep one second each.

`python -m benchmarks.nightly.overhead` starts a Prefect server with the settings of `fastif up` and
submits shards that sleep one second a query: on threads and on Dask, one task a query and one task
a shard. The overhead is the wall time relative to that of the sleeps alone, divided evenly among
the workers, minus 1. At the end the task runs that the server recorded are counted.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.page import (
    ResultPage,
    bullets,
    describe_machine,
    publish,
    read_result,
    render_pages,
    table,
)

QUERIES, SHARD = 3_000, 64
WORKERS = {"threads": 16, "dask": 4}
"""Workers by executor. Dask workers are processes, and each imports Prefect."""
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

    if options.only:  # cases that were measured before stay in the result
        cases_measured = {**read_result("overhead").get("cases", {}), **cases_measured}
    result = {"queries": options.queries, "cases": cases_measured, "machine": describe()}
    if options.queries == QUERIES:
        publish("overhead", result, build_pages(result))
    else:
        print(render_pages(build_pages(result)))
    return 0


def measure_case(engine: str, size: int, queries: int, server) -> dict:
    """Run all queries once, in shards of this size, and return the times and counts."""
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
    def run_shards() -> None:
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
    run_shards()
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
    """Return the seconds of the sleeps alone, if each free worker takes the next one."""
    ends = [0.0] * workers
    for length in lengths:
        first = min(range(workers), key=ends.__getitem__)
        ends[first] += length
    return max(ends)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the overhead of orchestration with tasks that sleep."""
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
    head = ["", "workers", "tasks", "sleeps alone", "wall", "overhead", "with start of the flow"]
    head += ["recorded", "server"]
    headline = ", ".join(
        f"{case['overhead']:.1%} ({name})" for name, case in result["cases"].items()
    )
    return [
        ResultPage(
            name="orchestration",
            title="Overhead of orchestration",
            question="How much wall time do Prefect and Dask add to the work of the shards?",
            answer=f"With tasks that sleep, the overhead is {headline}.",
            headline=headline,
            tables=[table(head, rows)],
            measured=bullets(
                "Command: `python -m benchmarks.nightly.overhead`.",
                f"Hardware, {describe_machine(result)}.",
                f"{result['queries']:,} queries that sleep one second each, so that more workers "
                "than cores can be busy.",
                f"An audit submits one task a shard, by default of {SHARD} queries. One task a "
                "query is the worst case.",
                "Goals: at most 3 % with threads, 5 % with Dask.",
                "A Prefect server with the settings of `fastif up`, SQLite.",
            ),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
