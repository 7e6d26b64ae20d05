"""Peak memory of a detection of many vectors: the table and its features once, and little else."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

STUDY = """name = "many"
labels = ["a", "b"]
[train]
table = "rows.parquet"
features = ["v"]
label = "y"
[store]
path = "store"
"""
WIDTH = 256


def measure_peak(folder, rows):
    """Peak resident memory of `fastif mislabels` on so many vectors, bytes."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, rows)
    values = generator.standard_normal((rows, WIDTH), dtype=np.float32) + 0.2 * truth[:, None]
    given = truth ^ (generator.random(rows) < 0.1)
    vectors = pl.Series("v", values.astype(np.float32), dtype=pl.Array(pl.Float32, WIDTH))
    labels = pl.Series("y", ["ab"[y] for y in given])
    pl.DataFrame([vectors.arr.to_list(), labels]).write_parquet(folder / "rows.parquet")
    (folder / "study.toml").write_text(STUDY)
    command = [sys.executable, "-m", "flows.cli", "mislabels", "--study", folder / "study.toml"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return 1024 * usage.ru_maxrss


@pytest.mark.long
def test_memory_grows_by_a_few_copies_of_the_table(tmp_path):
    few, many = measure_peak(tmp_path / "few", 2_000), measure_peak(tmp_path / "many", 120_000)
    assert many - few < 5 * 118_000 * WIDTH * 4
