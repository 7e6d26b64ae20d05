"""Study with separable texts and flipped labels, its detection, and a filled-in review file."""

import random
from pathlib import Path

import polars as pl
import tiny

from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.results import read_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

BASE = {"base": "base", "trainable": "last:1", "epochs": 1}
WRONG = 12


def write_noisy(folder: Path) -> Path:
    draw, rows = random.Random(3), []
    for i in range(120):
        good = i % 2 == 0
        words = [draw.choice(tiny.GOOD if good else tiny.BAD) for _ in range(4)]
        text = " ".join([*words, draw.choice(["film", "plot", "actor"]), "was", "very"])
        label = tiny.LABELS[good ^ (i < WRONG)]
        rows.append({"id": f"row-{i}", "text": text, "second": "a", "label": label, "kind": "x"})
    tiny.write_rows(folder / "train.csv", rows)
    tiny.write_study(folder, training=BASE, mislabels={"budget": 20})
    return folder / "study.toml"


def run_search(study):
    digest = detect_mislabels.fn(str(study))
    return read_result(open_existing_store(load_study(study)), digest)


def select_flipped(frame):
    return frame.filter(pl.col("id").is_in([f"row-{i}" for i in range(WRONG)]))


def fill_in(path, right):
    """Fill in a review file by a function of its rows."""
    rows = pl.read_csv(path, infer_schema=False).to_dicts()
    for row in rows:
        row["right_label"], row["reviewer"] = right(row), "ann"
    pl.DataFrame(rows).write_csv(path)
    return rows
