"""Titanic: a table of mixed columns with a multilayer perceptron.

The 1,309 passengers of Frank E. Harrell Jr. and Thomas Cason, from the test files that scikit-learn
is installed with, so nothing is downloaded. Whether a passenger survived is predicted from class,
sex, age, family, fare, deck and port; names, tickets, lifeboats and bodies are left out.
"""

import csv
import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import ClassVar

import polars as pl
import torch

import fastif
from benchmarks.fidelity.mlp import MlpWorkload, Recipe
from benchmarks.fidelity.workload import TUNED

FILE = "id_40945/data-v1-dl-16826755.arff.gz"
SHA256 = "c56e3785c96cd8aceac85f11bff21c2bf72841426f50903a6f27be8f334a7d03"
FLIPPED = 0.1
"""Share of the training labels that are flipped."""

COLUMNS = (
    "pclass", "survived", "name", "sex", "age", "sibsp", "parch", "ticket", "fare", "cabin",
    "embarked", "boat", "body", "home.dest",
)  # fmt: skip
CATEGORIES = {"pclass": "123", "embarked": "CQS", "deck": "ABCDEFG"}
"""Values with an indicator of their own; a missing or another value has none."""

NUMBERS = ("age", "sibsp", "parch", "fare")


@dataclass(frozen=True, eq=False)
class TitanicMlp(MlpWorkload):
    """Titanic with a network 20-64-32-2, ReLU, AdamW, 30 epochs; all parameters attributed."""

    rows: int = 1_000
    queries: int = 150
    subsets: int = 60
    seeds: int = 5
    name: ClassVar[str] = "titanic-mlp"
    title: ClassVar[str] = "Titanic, MLP 20-64-32-2"
    source: ClassVar[str] = (
        "Titanic (Frank E. Harrell Jr. and Thomas Cason; OpenML 40945), from the test files of "
        "scikit-learn; a random tenth of the training labels flipped"
    )
    licence: ClassVar[str] = "public (OpenML)"
    recipe: ClassVar[Recipe] = Recipe((20, 64, 32, 2), epochs=30, batch=32, rate=3e-3)

    @cached_property
    def train(self) -> fastif.TensorExamples:
        examples = self._encode(0, self.rows)
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(1))
        labels = examples.labels.clone()
        labels[order[: round(FLIPPED * self.rows)]] ^= 1
        return fastif.TensorExamples(examples.inputs, labels)

    @cached_property
    def query_examples(self) -> fastif.TensorExamples:
        return self._encode(self.rows, self.rows + self.queries)

    @cached_property
    def tuning_examples(self) -> fastif.TensorExamples:
        held_out = self.rows + self.queries
        return self._encode(held_out, held_out + TUNED)

    @cached_property
    def train_ids(self) -> list[str]:
        return self._passengers["id"][: self.rows].to_list()

    @cached_property
    def query_ids(self) -> list[str]:
        return self._passengers["id"][self.rows : self.rows + self.queries].to_list()

    @cached_property
    def _passengers(self) -> pl.DataFrame:
        return read_passengers().sample(fraction=1.0, seed=0, shuffle=True)

    def _encode(self, start: int, end: int) -> fastif.TensorExamples:
        """Return rows with numbers standardised by the training rows, and category indicators."""
        frame = self._passengers
        train = frame[: self.rows]
        inputs = [
            (frame[name].fill_null(train[name].median()) - train[name].mean()) / train[name].std()
            for name in NUMBERS
        ]
        inputs += [frame["age"].is_null(), frame["sex"] == "female"]
        for name, values in CATEGORIES.items():
            inputs += [(frame[name] == value).fill_null(value=False) for value in values]
        inputs += [frame["deck"].is_null()]
        columns = [torch.tensor(column.cast(pl.Float64).to_list()).float() for column in inputs]
        survived = torch.tensor(frame["survived"].cast(pl.Int64).to_list())
        return fastif.TensorExamples(torch.stack(columns, 1)[start:end], survived[start:end])


def read_passengers() -> pl.DataFrame:
    """Return all passengers with their place in the file as id, missing values null."""
    packed = files("sklearn.datasets.tests.data.openml") / FILE
    text = gzip.decompress(packed.read_bytes()).decode("utf-8")
    if hashlib.sha256(text.encode()).hexdigest() != SHA256:
        raise ValueError(f"{packed}: expected the 1,309 passengers, sha256 {SHA256}")
    lines = text.partition("@data\n")[2].strip().splitlines()
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in csv.reader(lines)]
    frame = pl.DataFrame(rows).with_columns(pl.all().replace("?", None))
    return frame.select(
        pl.format("passengers/{}", pl.int_range(pl.len())).alias("id"),
        "survived",
        "pclass",
        "sex",
        "embarked",
        pl.col("age", "sibsp", "parch").cast(pl.Float64),
        pl.col("fare").cast(pl.Float64).log1p(),
        pl.col("cabin").str.head(1).alias("deck"),
    )
