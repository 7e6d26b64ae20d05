"""Speed-up of an audit by a second Dask worker, each with one core.

`python -m benchmarks.nightly.engines` starts a scheduler and workers of one thread, audits the
built-in example on one worker and on two, and compares the seconds from the first shard to the
last.
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
from benchmarks.page import (
    ResultPage,
    bullets,
    describe_machine,
    format_goal,
    publish,
    render_pages,
    table,
)

ROUNDS, GOAL = 1, 1.7
QUERIES = 112
"""Queries of the audit, in seven shards; the time begins with the commit of the first one."""
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
        publish("engines", result, build_pages(result))
    else:
        print(render_pages(build_pages(result)))
    return 0


def compare_engines(seconds: dict, pace: dict) -> dict:
    """Return the time ratios of one worker and two, a round: all shards, and steady state."""
    pairs = {"ratios": seconds, "paces": pace}
    return {
        name: [single / double for single, double in zip(times[1], times[2], strict=True)]
        for name, times in pairs.items()
    }


def prepare_engine_study() -> Path:
    """Copy the example with every second query and shards of 16, train it, return the study."""
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
    """Return the seconds of all shards and of one shard on this many workers; artifacts exist."""
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
    """Return seconds from the first commit to the last, and seconds a shard in steady state.

    Steady state begins when each worker has committed a shard: before that it loads the model and
    computes the hidden states of frozen layers.
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


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on one Dask worker against two."""
    ratio, pace = median(result["ratios"]), median(result["paces"])
    rows = [
        [
            f"{count}",
            *(f"{wall:.1f} s, {each:.1f} s a shard" for wall, each in zip(*both, strict=True)),
        ]
        for count, both in _by_count(result)
    ]
    rounds = [f"round {i + 1}" for i in range(len(result["ratios"]))]
    return [
        ResultPage(
            name="dask-scaling",
            title="One Dask worker and two",
            question="How much faster are two Dask workers than one?",
            answer=(
                f"Two workers process {pace:.2f} times as many shards a second as one (goal {GOAL}:"
                f" {format_goal(pace >= GOAL)})."
            ),
            headline=f"{pace:.2f} times",
            tables=[
                table(["workers", *rounds], rows),
                f"Over these few shards the whole speed-up is {ratio:.2f}: the second worker first "
                "loads the model and computes the hidden states of frozen layers, which the first "
                "worker has done before its first shard.",
            ],
            measured=bullets(
                "Command: `python -m benchmarks.nightly.engines`.",
                f"Hardware, {describe_machine(result)}.",
                f"Every second query of the built-in example, {QUERIES} of them, in shards of 16, "
                "on Dask workers of one core each.",
                "Seconds: from the first commit of a shard to the last. Seconds a shard: from the "
                "time when every worker has committed one.",
            ),
        )
    ]


def _by_count(result: dict) -> list[tuple[str, tuple[list[float], list[float]]]]:
    pairs = zip(result["seconds"].items(), result["pace"].values(), strict=True)
    return [(f"{count}", (whole, each)) for (count, whole), each in pairs]


if __name__ == "__main__":
    sys.exit(main())
