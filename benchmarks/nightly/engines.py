"""One Dask worker against two, each with one core, on the solves of an audit.

`python -m benchmarks.nightly.engines` starts a scheduler and workers of one thread, audits the
built-in example on one and on two of them in turn, and compares the time from the first shard to
the last.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.machine import describe
from benchmarks.nightly.server import Server
from benchmarks.page import describe_machine, join_parts, publish, table

ROUNDS, GOAL = 1, 1.7
QUERIES = 112
"""Seven shards: from the first commit to the last one worker does six, two do three each."""
EXAMPLE = Path("examples/nli")
WORK = Path("benchmarks/.work/engines")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.nightly.engines"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    study = prepare_engine_study()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    pace: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        environment = {**os.environ, **server.environment, "OMP_NUM_THREADS": "1"}
        for _ in range(options.rounds):
            for count in seconds:
                whole, each = time_audit(study, count, environment)
                seconds[count].append(whole)
                pace[count].append(each)
                print(count, whole, each, file=sys.stderr, flush=True)
    result = {
        "seconds": seconds,
        "pace": pace,
        **compare_engines(seconds, pace),
        "machine": describe(),
    }
    if options.rounds == ROUNDS:
        publish("engines", result, section(result))
    else:
        print(section(result))
    return 0


def compare_engines(seconds: dict, pace: dict) -> dict:
    """One worker's time over that of two, by round: all shards, and once both work."""
    pairs = {"ratios": seconds, "paces": pace}
    return {
        name: [single / double for single, double in zip(times[1], times[2], strict=True)]
        for name, times in pairs.items()
    }


def prepare_engine_study() -> Path:
    """A copy of the example whose queries are solved and scanned shard by shard, and its model."""
    shutil.copytree(EXAMPLE, WORK, ignore=shutil.ignore_patterns("out"), dirs_exist_ok=True)
    queries = WORK / "data" / "queries.parquet"
    pl.read_parquet(EXAMPLE / "data" / "queries.parquet").gather_every(2).head(
        QUERIES
    ).write_parquet(queries)
    study = WORK / "study.toml"
    text = study.read_text("utf-8")
    head, _, _ = text.partition("[run]")
    study.write_text(
        f'{head}[run]\nshard_size = 16\n\n[store]\npath = "store"\n\n'
        + text[text.index("[training]") :],
        "utf-8",
    )
    subprocess.run([sys.executable, "-m", "flows.cli", "train", str(study)], check=True)
    return study


def time_audit(study: Path, count: int, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of the shards on so many workers; parts are there, and every model is warm."""
    for what in ("runs", "tables"):
        shutil.rmtree(study.parent / "store" / what, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        options = ["--host", "127.0.0.1", "--no-dashboard"]
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
        started = [_process([*scheduler, *options, "--scheduler-file", str(file)], environment)]
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        worker += [*options, "--resources", "CPU=1", "--memory-limit", "0"]
        started += [_process(worker, environment) for _ in range(count)]
        try:
            command = [
                sys.executable,
                "-m",
                "flows.cli",
                "audit",
                str(study),
                "--engine",
                address,
            ]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()
    return _span(study.parent / "store", count)


def _span(store: Path, count: int) -> tuple[float, float]:
    """From the first shard's commit to the last one's; and a shard, once all workers are at work.

    A worker is at work when it has committed one: before that it loads the model and computes the
    hidden states of frozen layers.
    """
    from datetime import datetime

    manifests = [p for p in store.glob("runs/*/manifest/*.json") if p.stem.isdecimal()]
    times = sorted(
        datetime.fromisoformat(json.loads(path.read_text())["committed"]) for path in manifests
    )
    later = (times[-1] - times[count - 1]).total_seconds() / (len(times) - count)
    return (times[-1] - times[0]).total_seconds(), later


def _process(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def section(result: dict) -> str:
    """The section as Markdown."""
    ratio, pace = median(result["ratios"]), median(result["paces"])
    reached = "reached" if pace >= GOAL else "**not reached**"
    rows = [
        [
            f"{count}",
            *(f"{wall:.1f} s, {each:.1f} s a shard" for wall, each in zip(*both, strict=True)),
        ]
        for count, both in _by_count(result)
    ]
    rounds = [f"round {i + 1}" for i in range(len(result["ratios"]))]
    return join_parts(
        "## One Dask worker and two",
        f"`python -m benchmarks.nightly.engines`, {describe_machine(result)}. Every second query "
        f"of the built-in example, {QUERIES} of them, in shards of 16, on Dask workers of one "
        "core each; seconds from the first commit of a shard to the last, and seconds "
        "a shard from when every worker has committed one.",
        table(["workers", *rounds], rows),
        f"Two workers at work do {pace:.2f} times as much as one (goal {GOAL}: {reached}). "
        f"Over these few shards it is {ratio:.2f} times, since the second worker begins by "
        "loading the model and computing the hidden states of frozen layers, which the first "
        "has done before its first shard.",
    )


def _by_count(result: dict) -> list[tuple[str, tuple[list[float], list[float]]]]:
    pairs = zip(result["seconds"].items(), result["pace"].values(), strict=True)
    return [(f"{count}", (whole, each)) for (count, whole), each in pairs]


if __name__ == "__main__":
    sys.exit(main())
