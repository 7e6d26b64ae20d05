"""Time and memory of a mislabel detection by number of rows and classes.

`python -m benchmarks.mislabels.scale` writes tables of vectors of 384 numbers with simulated label
noise, runs the command `fastif mislabels` on each in a separate process, and writes
benchmarks/results/label-error-scale.json and docs/results/label-error-scale.md. It needs no data;
a million rows take half an hour on two cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from benchmarks.machine import describe
from benchmarks.mislabels.corpora import WORK
from benchmarks.mislabels.scale_page import build_pages
from benchmarks.page import publish, read_result

RESULT = "label-error-scale"
SIZES = ((50_000, 10), (50_000, 80), (200_000, 10), (1_000_000, 10))
"""Numbers of rows and classes."""
WIDTH, SHARE, DISTANCE = 384, 0.1, 0.18
"""Numbers of a vector, share of wrong labels, standard deviation of the class means."""
BLOCK = 50_000
"""Number of rows that are written at a time."""
FORECAST = re.compile(r"In all about ([\d,]+) s and ([\d.]+) GB")
STUDY = """name = "scale"
labels = [{labels}]

[train]
table = "train.parquet"
features = ["embedding"]
label = "label"
id = "id"

[store]
path = "store"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", help="only these numbers of rows")
    parser.add_argument("--forecasts", action="store_true", help="repeat the forecasts alone")
    arguments = parser.parse_args()
    is_part = arguments.rows or arguments.forecasts
    sizes = dict(read_result(RESULT).get("sizes", {})) if is_part else {}
    for rows, classes in SIZES:
        if arguments.rows and rows not in arguments.rows:
            continue
        key = f"{rows} rows, {classes} classes"
        measured = sizes.get(key) if arguments.forecasts else None
        entry = sizes[key] = measure(rows, classes, measured)
        print(rows, classes, entry, flush=True)
    result = {"machine": describe(), "sizes": sizes}
    publish(RESULT, result, build_pages(result))


def measure(rows: int, classes: int, measured: dict | None) -> dict:
    """Return forecast, time, peak memory and average precision of a detection.

    All but the forecast is that of `measured`, if it is given.
    """
    folder = WORK / "scale"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wrong = write_study(folder, rows, classes)
    words, _, _ = run_command(folder, "mislabels", "--dry-run")
    forecast = FORECAST.search(" ".join(words.split()))
    assert forecast is not None, words
    forecasts = {
        "forecast_seconds": float(forecast[1].replace(",", "")),
        "forecast_gb": float(forecast[2]),
    }
    if measured is not None:
        return measured | forecasts
    _, seconds, peak = run_command(folder, "mislabels")
    run_command(folder, "export", "mislabels", "--out", str(folder.resolve() / "rows.parquet"))
    ranked = pl.read_parquet(folder / "rows.parquet", columns=["id", "probability"])
    is_wrong = ranked["id"].is_in(wrong.implode()).to_numpy()
    entry = {
        "rows": rows,
        "classes": classes,
        **forecasts,
        "seconds": seconds,
        "peak_gb": peak,
        "table_gb": rows * WIDTH * 4e-9,
        "average_precision": float(average_precision_score(is_wrong, ranked["probability"])),
    }
    shutil.rmtree(folder)
    return entry


def write_study(folder: Path, rows: int, classes: int) -> pl.Series:
    """Write a study of Gaussian classes with uniform label noise; return ids of wrong labels."""
    generator = np.random.default_rng(0)
    centers = DISTANCE * generator.standard_normal((classes, WIDTH), dtype=np.float32)
    names = np.array([f"class {i:02d}" for i in range(classes)])
    writer, wrong = None, []
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        truth = generator.integers(0, classes, count)
        values = centers[truth] + generator.standard_normal((count, WIDTH), dtype=np.float32)
        is_wrong = generator.random(count) < SHARE
        shift = 1 + generator.integers(0, classes - 1, count)
        given = np.where(is_wrong, (truth + shift) % classes, truth)
        ids = [f"r{start + i}" for i in range(count)]
        offsets = np.arange(0, (count + 1) * WIDTH, WIDTH, dtype=np.int32)
        vectors = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
        block = pa.table({"id": ids, "embedding": vectors, "label": names[given]})
        writer = writer or pq.ParquetWriter(folder / "train.parquet", block.schema)
        writer.write_table(block)
        wrong += [ids[i] for i in np.flatnonzero(is_wrong)]
    assert writer is not None
    writer.close()
    labels = ", ".join(f'"{name}"' for name in names)
    (folder / "study.toml").write_text(STUDY.format(labels=labels), "utf-8")
    return pl.Series(wrong)


def run_command(folder: Path, *words: str) -> tuple[str, float, float]:
    """Run a command of fastif; return its output, wall seconds and peak memory, GB."""
    command = [sys.executable, "-m", "flows.cli", *words, "--study", str(folder / "study.toml")]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {output}")
    return output, time.monotonic() - start, usage.ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
