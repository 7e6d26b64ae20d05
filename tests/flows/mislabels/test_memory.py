"""Peak memory of a detection of many vectors, and of one that fine-tunes an encoder."""

import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from transformers import BertConfig, BertModel

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
TEXT_STUDY = """name = "fine-tuned"
labels = ["neg", "pos"]
[train]
table = "rows.parquet"
text = "text"
label = "label"
[mislabels]
encoder = "base"
finetune = {finetune}
[run]
devices = ["cpu"]
[store]
path = "store"
"""


def write_vectors(folder, rows):
    """Write a study of so many vectors."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, rows)
    values = generator.standard_normal((rows, WIDTH), dtype=np.float32) + 0.2 * truth[:, None]
    given = truth ^ (generator.random(rows) < 0.1)
    vectors = pl.Series("v", values.astype(np.float32), dtype=pl.Array(pl.Float32, WIDTH))
    labels = pl.Series("y", ["ab"[y] for y in given])
    pl.DataFrame([vectors.arr.to_list(), labels]).write_parquet(folder / "rows.parquet")
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


def write_texts(folder, finetune):
    """Write a study of texts with an encoder of 9 million parameters."""
    base = folder / "base"
    base.mkdir(parents=True)
    words = [f"w{i}" for i in range(24_000)]
    tokenizer = tiny.write_tokenizer(base, words, model_max_length=128)
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=1024, **size)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(base)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, generator.integers(20, 60))) for _ in range(160)]
    frame = pl.DataFrame({"text": texts, "label": ["neg", "pos"] * 80})
    frame.write_parquet(folder / "rows.parquet")
    (folder / "study.toml").write_text(TEXT_STUDY.format(finetune=str(finetune).lower()))
    return folder / "study.toml"


MEASURE = """
import os, subprocess, sys
with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
print(child.returncode, usage.ru_maxrss)
"""


def measure_peak(study):
    """Peak resident memory of `fastif mislabels`, bytes.

    The peak of a process starts at that of its parent, so the parent is a small one.
    """
    command = [sys.executable, "-m", "flows.cli", "mislabels", "--study", study]
    measure = [sys.executable, "-S", "-c", MEASURE, *command]
    done = subprocess.run(measure, check=True, capture_output=True, text=True)
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0
    return 1024 * kilobytes


def forecast_in_child(study):
    """Memory that `--dry-run` states, bytes."""
    command = [sys.executable, "-m", "flows.cli", "mislabels", study, "--dry-run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    words = " ".join(done.stdout.split())
    return 1e9 * float(re.search(r"and ([\d.]+) GB of memory", words)[1])


@pytest.mark.long
def test_memory_grows_by_a_few_copies_of_the_table(tmp_path):
    few, many = (
        measure_peak(write_vectors(tmp_path / str(rows), rows)) for rows in (2_000, 120_000)
    )
    assert many - few < 5 * 118_000 * WIDTH * 4


@pytest.mark.long
def test_memory_of_fine_tuning_is_in_the_forecast(tmp_path):
    studies = [write_texts(tmp_path / str(finetune), finetune) for finetune in (False, True)]
    expected_without, expected = map(forecast_in_child, studies)
    without, peak = map(measure_peak, studies)
    added = expected - expected_without
    assert 0.7 * added < peak - without < 1.3 * added
    assert 0.7 * expected < peak < 1.3 * expected
