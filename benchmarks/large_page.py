"""Run of 2,000 queries against 25,000 pairs of MultiNLI by a small encoder, for its report page.

Length and number of the texts, groups and scores of the page are those of a real study; the encoder
has two layers and random weights, so that audit and search take minutes. Its effects mean nothing.
"""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import polars as pl
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks.fidelity.texts import BASE
from benchmarks.fidelity.workload import read_random_rows

ROWS, QUERIES = 25_000, 2_000
WIDTH, LAYERS = 32, 2
COLUMNS = ("id", "premise", "hypothesis", "label", "genre")
STUDY = """name = "large-page"
labels = ["contradiction", "entailment", "neutral"]
[model]
path = "model"
max_length = 64
[train]
table = "train.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"
groups = ["genre"]
[queries]
table = "queries.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"
groups = ["genre"]
[parameters]
attributed = ["pooler", "classifier"]
[curvature]
damping = 0.1
rows = 500
[candidates]
kind = "sketch"
k = 200
rescore = false
[store]
path = "store"
[training]
base = "base"
trainable = ["pooler", "classifier"]
epochs = 1
checkpoints = []
record = false
"""


def make_large_run(folder: Path, data: Path, rows: int = ROWS, queries: int = QUERIES) -> Path:
    """Audit the large study and search its labels, and return the study file.

    Args:
        folder: Folder of the study; finished work in it is not repeated.
        data: Folder of the data sets.
        rows: Number of training rows.
        queries: Number of queries.
    """
    study = folder / "study.toml"
    if not study.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"train": ("train_subset", rows), "queries": ("dev_matched", queries)}
        for name, (part, count) in parts.items():
            table = read_random_rows(data / f"multinli/{part}.parquet", count)
            table.select(pl.col(COLUMNS)).write_parquet(folder / f"{name}.parquet")
        write_encoder(folder / "base")
        study.write_text(STUDY, "utf-8")
    for command in ("train", "audit", "mislabels"):
        subprocess.run([sys.executable, "-m", "flows.cli", command, str(study)], check=True)
    return study


def write_encoder(folder: Path) -> None:
    """Write an encoder of two layers with random weights and the tokenizer of MiniLM."""
    tokenizer = AutoTokenizer.from_pretrained(str(files(BASE) / "model"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=LAYERS,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
