"""Overhead of orchestration for 3,000 real queries.

`python -m benchmarks.nightly.answering` reads MultiNLI and HANS under FASTIF_DATA and attributes
3,000 of their pairs with the model of the built-in example, in shards as in an audit, on threads
and on Dask, with a Prefect server with the settings of `fastif up`. Each shard returns the seconds
of its work, from its first line to its commit. The overhead is the wall time relative to that work
divided among the workers, minus 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.fidelity.workload import read_random_rows
from benchmarks.machine import describe
from benchmarks.nightly.overhead import LIMITS, makespan
from benchmarks.nightly.server import Server
from benchmarks.page import (
    ResultPage,
    bullets,
    describe_machine,
    format_goal,
    publish,
    render_pages,
    table,
)

QUERIES, ROWS, SHARD = 3_000, 400, 64
SMALLER = {"rows = 512": "rows = 200", "k = 200": "k = 40", "dimensions = 512": "dimensions = 200"}
WORKERS = {"threads": 1, "dask": 2}
PREPARING = 5
"""Number of preparation tasks before the shards."""
EXAMPLE = Path("examples/nli")
WORK = Path("benchmarks/.work/answering")
TABLES = {"hans": "hans/evaluation.parquet", "mnli": "multinli/dev_matched.parquet"}
LABEL = pl.when(label="entailment").then(pl.col("label")).otherwise(pl.lit("non-entailment"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.nightly.answering"
    )
    parser.add_argument("--queries", type=int, default=QUERIES)
    options = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "hans").is_dir():
        sys.exit("FASTIF_DATA must name the folder with hans/ and multinli/")
    study = prepare_answering_study(data, options.queries)
    cases = {}
    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        os.environ |= server.environment
        for engine in WORKERS:
            shutil.rmtree(study.parent / "store", ignore_errors=True)
            cases[engine] = measure_answering(engine, study, server)
            print(cases[engine], file=sys.stderr, flush=True)
    result = {"queries": options.queries, "rows": ROWS, "cases": cases, "machine": describe()}
    if options.queries == QUERIES:
        publish("answering", result, build_pages(result))
    else:
        print(render_pages(build_pages(result)))
    return 0


def prepare_answering_study(data: Path, queries: int) -> Path:
    """Copy the example with this many queries, half of HANS and half of MultiNLI, and train it."""
    shutil.copytree(EXAMPLE, WORK, ignore=shutil.ignore_patterns("out"), dirs_exist_ok=True)
    parts = []
    for name, path in TABLES.items():
        rows = read_random_rows(
            data / path, pl.scan_parquet(data / path).select(pl.len()).collect().item()
        )
        parts.append(rows.head(queries // 2).with_columns(suite=pl.lit(name)))
    columns = ["id", "premise", "hypothesis", "suite", "heuristic", "subcase"]
    queries_frame = pl.concat([part.with_columns(label=LABEL) for part in parts], how="diagonal")
    queries_frame.select(*columns, "label").write_parquet(WORK / "data" / "queries.parquet")
    train = pl.read_parquet(EXAMPLE / "data" / "train.parquet")
    train.head(ROWS).write_parquet(WORK / "data" / "train.parquet")
    study = WORK / "study.toml"
    text = study.read_text("utf-8")
    changes = {"shard_size = 60": f"shard_size = {SHARD}", '"out/store"': '"store"', **SMALLER}
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    study.write_text(text, "utf-8")
    subprocess.run([sys.executable, "-m", "flows.cli", "train", str(study)], check=True)
    return study


def measure_answering(engine: str, study: Path, server: Server) -> dict:
    """Run one audit on this executor up to its last shard, and return the times and counts."""
    from prefect import flow

    from benchmarks.nightly.timing import timed_shard
    from flows.executor_config import LocalDaskConfig, ThreadsConfig
    from flows.executors import start_executor
    from flows.shard_scheduler import Deadline, ShardScheduler
    from tasks.audit.in_process import PREPARATIONS
    from tasks.audit.prepare import describe_train
    from tasks.planning.start_run import start_run
    from tasks.run.spec import list_missing_shards, plan_run
    from tasks.runtime.devices import resolve_devices

    count = WORKERS[engine]
    where = ThreadsConfig() if engine == "threads" else LocalDaskConfig(workers=count)
    plan = plan_run(study, f"answering-{engine}")
    seconds: dict[int, float] = {}
    times = {}

    @flow(name=f"answering-{engine}")
    def run_shards() -> None:
        store = start_run(plan).store
        shards = list_missing_shards(store, plan.ref.run)
        with start_executor(where, resolve_devices(["cpu"]), len(shards)) as workers:
            for task in (describe_train, *(task for _, task in PREPARATIONS)):
                workers.call(task, ref=plan.ref)
            futures = {}

            def submit(shard):
                futures[shard] = workers.submit(timed_shard, shard=shard, ref=plan.ref)
                return futures[shard]

            times["began"] = time.monotonic()
            dispatch = ShardScheduler(submit, workers.count, Deadline())
            for shard in dispatch.run(shards):
                seconds[shard.index] = futures.pop(shard).result()
            times["ended"] = time.monotonic()
            assert not dispatch.failed, dispatch.failed[0]

    run_shards()
    wall, taken = times["ended"] - times["began"], list(seconds.values())
    ideal = max(sum(taken) / count, makespan(taken, count))
    return {
        "workers": count,
        "tasks": PREPARING + len(taken),
        "work": sum(taken),
        "ideal": ideal,
        "wall": wall,
        "overhead": wall / ideal - 1,
        "recorded": server.task_runs(f"answering-{engine}", PREPARING + len(taken)),
        "server_mb": server.memory() / 2**20,
    }


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the overhead of orchestration with real queries."""
    rows = []
    for name, case in result["cases"].items():
        limit = LIMITS[name]
        rows.append(
            [
                name,
                f"{case['workers']}",
                f"{case['tasks']:,}",
                f"{case['work']:,.1f} s",
                f"{case['ideal']:,.1f} s",
                f"{case['wall']:,.1f} s",
                f"{case['overhead']:.2%} (goal {limit:.0%}: "
                f"{format_goal(case['overhead'] <= limit)})",
                f"{case['recorded']:,}",
                f"{case['server_mb']:,.0f} MB",
            ]
        )
    head = ["", "workers", "tasks", "work", "ideal", "wall", "overhead", "recorded", "server"]
    headline = ", ".join(
        f"{case['overhead']:.2%} ({name})" for name, case in result["cases"].items()
    )
    return [
        ResultPage(
            name="orchestration-real-queries",
            title="Overhead of orchestration with real queries",
            question="How much wall time does orchestration add to an audit of real queries?",
            answer=f"The overhead is {headline}.",
            headline=headline,
            tables=[table(head, rows)],
            measured=bullets(
                "Command: `python -m benchmarks.nightly.answering`.",
                f"Hardware, {describe_machine(result)}.",
                f"{result['queries']:,} queries, half of HANS and half of MultiNLI, against "
                f"{result['rows']:,} training rows, in shards of {SHARD}. The study is "
                "the built-in example with smaller settings, so that 3,000 queries are feasible.",
                "Work: seconds of the shards, from the first line to the commit (the first shard "
                "of a Dask worker loads the model). Ideal: the work divided among the workers if "
                "none waits. The rest of the wall time is orchestration.",
                "A Prefect server with the settings of `fastif up`, SQLite.",
                *([result["note"].strip()] if result.get("note") else []),
            ),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
