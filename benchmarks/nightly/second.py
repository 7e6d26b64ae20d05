"""Time of an incremental run with 1 % new training rows and 5 % new queries.

`python -m benchmarks.nightly.second` reads MultiNLI under FASTIF_DATA, trains a model with `fastif
train`, audits 2,000 queries against 25,000 pairs by sketch scores, adds 250 pairs and 100 queries,
and audits again. Each run is a command, timed from its start to its summary. With `--check` the
scores of the incremental run are compared with those of a full run on equal tables with an equal
sketcher.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from benchmarks.bulk.corpora import MultiNli
from benchmarks.bulk.night import STUDY, WORK
from benchmarks.fidelity.workload import read_random_rows
from benchmarks.machine import describe
from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, publish, table
from storage import Store
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

FULL, QUICK = (25_000, 2_000), (1_200, 40)
MORE_TRAIN, MORE_QUERIES = 0.01, 0.05
ALONE = 'kind = "sketch"\nk = 200\nrescore = false'
LIMIT = 0.08
RUNS = {"first": "full run", "second": "incremental run", "without carry": "without `[carry]`"}
"""Titles of the table columns, by name of the run in the result."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.nightly.second"
    )
    parser.add_argument("--check", action="store_true", help="also without [carry], and compare")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no result")
    options = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "multinli").is_dir():
        sys.exit("FASTIF_DATA must name the folder with multinli/")
    rows, queries = QUICK if options.quick else FULL
    folder = WORK / f"second-{rows}"
    shutil.rmtree(folder / "night.store", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "night.toml"
    write_second_study(study, carry=True)
    tables(data, folder, rows, queries)
    run("train", study)
    first = run("audit", study)
    tables(data, folder, rows + round(MORE_TRAIN * rows), queries + round(MORE_QUERIES * queries))
    second = run("audit", study)
    result = {
        "rows": rows,
        "queries": queries,
        "nights": {"first": first, "second": second},
        "share": second["wall"] / first["wall"],
        "machine": describe(),
    }
    if options.check:
        write_second_study(folder / "scratch.toml", carry=False)
        result["nights"]["without carry"] = run("audit", folder / "scratch.toml")
        result["answers"] = compare_runs(open_existing_store(load_study(study)))
    print(json.dumps(result, indent=1))
    if not options.quick:
        publish("second-night", result, build_pages(result))
    return 0


def write_second_study(study: Path, carry: bool) -> None:
    """Write the study file, with or without the section [carry]; both share one store."""
    labels = json.dumps(list(MultiNli.labels))
    text = STUDY.format(labels=labels, candidates=ALONE, store="night.store")
    study.write_text(text.replace("[store]", "[carry]\n\n[store]" if carry else "[store]"), "utf-8")


def tables(data: Path, folder: Path, rows: int, queries: int) -> None:
    """Write the first rows of a fixed order, so that a larger table contains the smaller one."""
    for name, source, count in zip(
        ("train", "queries"), MultiNli.tables, (rows, queries), strict=True
    ):
        whole = pl.read_parquet(data / source)
        order = read_random_rows(data / source, whole.height)
        columns = ["id", *MultiNli.columns, "label"]
        order.head(count).select(columns).write_parquet(folder / f"{name}.parquet")


def run(command: str, study: Path) -> dict:
    """Run a command of fastif; return its wall seconds and, of an audit, those of its stages."""
    print(f"{command} {study.name}", file=sys.stderr, flush=True)
    environment = {**os.environ, "PREFECT_HOME": str((WORK / "prefect").absolute())}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "flows.cli", command, str(study)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - start
    if command != "audit":
        return {"wall": wall}
    store = open_existing_store(load_study(study))
    status = store.list_runs()[0]
    (forecast,) = store.scan("runs", status.record.run).select("forecast").collect()["forecast"]
    stages = {name: seconds for name, (_, seconds) in json.loads(forecast)["seconds"].items()}
    return {"wall": wall, "run": status.record.run, "stages": stages}


def compare_runs(store: Store) -> dict:
    """Compare the scores of the incremental run with those of a full run: shared pairs and gap."""
    scratch, second, _ = (status.record.run for status in store.list_runs())
    both = [store.scan("scores", name).collect() for name in (second, scratch)]
    keys = ["query", "train"]
    joined = both[0].join(both[1], on=keys, suffix="_scratch")
    gap = (joined["removal_effect"] - joined["removal_effect_scratch"]).abs().max()
    largest = both[1]["removal_effect"].abs().max()
    return {
        "scores": both[0].height,
        "in both": joined.height,
        "largest gap": float(gap),  # type: ignore[arg-type]
        "of the largest score": float(gap) / float(largest),  # type: ignore[arg-type]
    }


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on an incremental run."""
    runs = result["nights"]
    names = dict.fromkeys(name for run in runs.values() for name in run["stages"])
    rows = [["the command, seconds", *(f"{run['wall']:,.1f}" for run in runs.values())]]
    rows += [
        [name, *(f"{run['stages'].get(name, 0):,.1f}" for run in runs.values())] for name in names
    ]
    parts = [table(["", *(RUNS.get(name, name) for name in runs)], rows)]
    if check := result.get("answers"):
        parts.append(
            f"Of its {check['scores']:,} scores {check['in both']:,} are among those of a full run "
            "on equal tables with an equal sketcher, and differ by at most "
            f"{check['of the largest score']:.1e} of the largest score."
        )
    return [
        ResultPage(
            name="incremental-run",
            title="An incremental run",
            question="How long does an audit take when a few rows and queries were added?",
            answer=(
                f"An incremental run takes {result['share']:.1%} of the time of the first, full "
                f"run (goal at most {LIMIT:.0%}: {format_goal(result['share'] <= LIMIT)})."
            ),
            headline=f"{result['share']:.1%} of the full run",
            tables=parts,
            measured=bullets(
                "Command: `python -m benchmarks.nightly.second`.",
                f"Hardware, {describe_machine(result)}.",
                f"First run: {result['queries']:,} queries against {result['rows']:,} MultiNLI "
                "pairs by sketch scores. Second run: 1 % more training rows and 5 % more queries, "
                "with `[carry]`.",
                "Each run is timed from the start of the command, the temporary server of Prefect "
                "included, to the summary.",
            ),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
