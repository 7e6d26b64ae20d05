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

from benchmarks.machine import describe
from benchmarks.nightly.report import machine_of, publish, table
from benchmarks.nightly.server import Server

ROUNDS, GOAL = 1, 1.7
EXAMPLE = Path("examples/nli")
WORK = Path("benchmarks/.work/engines")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.nightly.engines"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    study = prepared()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        environment = {**os.environ, **server.environment, "OMP_NUM_THREADS": "1"}
        for _ in range(options.rounds):
            for count in seconds:
                seconds[count].append(audited(study, count, environment))
                print(count, seconds[count][-1], file=sys.stderr, flush=True)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    result = {"seconds": seconds, "ratios": ratios, "machine": describe()}
    if options.rounds == ROUNDS:
        publish("engines", "One Dask worker and two", section(result), result)
    else:
        print(section(result))
    return 0


def prepared() -> Path:
    """A copy of the example whose queries are solved and scanned shard by shard, and its model."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(EXAMPLE, WORK, ignore=shutil.ignore_patterns("out"))
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


def audited(study: Path, count: int, environment: dict[str, str]) -> float:
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
            command = [sys.executable, "-m", "flows.cli", "audit", str(study), "--engine", address]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()
    return _span(study.parent / "store")


def _span(store: Path) -> float:
    """From the first shard's commit to the last one's, a shard the more for the first."""
    from datetime import datetime

    manifests = [p for p in store.glob("runs/*/manifest/*.json") if p.stem.isdecimal()]
    times = sorted(
        datetime.fromisoformat(json.loads(path.read_text())["committed"]) for path in manifests
    )
    return (times[-1] - times[0]).total_seconds()


def _process(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def section(result: dict) -> str:
    """The section as Markdown."""
    ratio = median(result["ratios"])
    reached = "reached" if ratio >= GOAL else "**not reached**"
    rows = [
        [f"{count}", *(f"{seconds:.1f} s" for seconds in result["seconds"][count])]
        for count in result["seconds"]
    ]
    rounds = [f"round {i + 1}" for i in range(len(result["ratios"]))]
    return "\n\n".join(
        [
            f"`python -m benchmarks.nightly.engines`, {machine_of(result)}. The built-in example "
            "in shards of 16 queries on a Dask cluster of workers with one core each; seconds from "
            "the first commit of a shard to the last.",
            table(["workers", *rounds], rows),
            f"Two workers do it {ratio:.2f} times as fast as one ({min(result['ratios']):.2f} to "
            f"{max(result['ratios']):.2f}; goal {GOAL}: {reached}).",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
