"""Text corpora of the retrieval benchmark: SST-2 with flipped labels, and MultiNLI."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import polars as pl

import fastif
from benchmarks.fidelity.texts import Texts
from benchmarks.fidelity.workload import read_random_rows


@dataclass(frozen=True, eq=False)
class Corpus(Texts):
    """Corpus with a full scan as reference, without retrained halves.

    Attributes:
        flipped: Share of the training labels that are flipped.
    """

    queries: int = 64
    subsets: int = 0
    seeds: int = 0
    flipped: ClassVar[float] = 0.0

    @property
    def key(self) -> str:
        return f"bulk-{self.name}"

    @cached_property
    def train(self) -> fastif.Examples:
        frame = read_random_rows(self.data / self.tables[0], self.rows)
        return self.encoded(with_flips(frame, self.labels, self.flipped))


@dataclass(frozen=True, eq=False)
class FlippedSst2(Corpus):
    """SST-2 with a tenth of the training labels flipped."""

    rows: int = 6_920
    flipped: ClassVar[float] = 0.1
    name: ClassVar[str] = "sst2-flipped"
    title: ClassVar[str] = "SST-2, a tenth of the labels flipped"
    labels: ClassVar[tuple[str, ...]] = ("negative", "positive")
    tables: ClassVar[tuple[str, str]] = ("sst2/train.parquet", "sst2/dev.parquet")


@dataclass(frozen=True, eq=False)
class MultiNli(Corpus):
    """MultiNLI: sentence pairs with three classes."""

    rows: int = 20_000
    name: ClassVar[str] = "multinli"
    title: ClassVar[str] = "MultiNLI"
    labels: ClassVar[tuple[str, ...]] = ("entailment", "neutral", "contradiction")
    tables: ClassVar[tuple[str, str]] = (
        "multinli/train_subset.parquet",
        "multinli/dev_matched.parquet",
    )
    columns: ClassVar[tuple[str, ...]] = ("premise", "hypothesis")


def with_flips(
    frame: pl.DataFrame, labels: tuple[str, ...], share: float, seed: int = 0
) -> pl.DataFrame:
    """Return the table with a share of its labels moved to the next class.

    >>> table = pl.DataFrame({"label": ["a", "b", "a", "b"]})
    >>> flipped = with_flips(table, ("a", "b"), 0.5)["label"]
    >>> int((flipped != table["label"]).sum())
    2
    """
    rows = pl.int_range(frame.height, eager=True)
    chosen = rows.sample(round(share * frame.height), seed=seed)
    following = dict(zip(labels, (*labels[1:], labels[0]), strict=True))
    wrong = pl.col("label").replace_strict(following, return_dtype=pl.String)
    return frame.with_columns(
        pl.when(pl.Series(rows.is_in(chosen.implode())))
        .then(wrong)
        .otherwise(pl.col("label"))
        .alias("label")
    )
