"""Workload: a model, its training rows and queries, and retraining on random halves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from benchmarks.fidelity.truth import Truth, measure_truth
from fastif.models.parameters import Params

TUNED = 64
PARTS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the training at the checkpoints that are averaged with the end."""

Subset = Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class Workload(ABC):
    """Model and data on which the fidelity of effects is measured.

    Args:
        data: Folder of the data sets.
        rows: Number of training rows.
        queries: Number of queries.
        subsets: Number of random halves for retraining.
        seeds: Number of trainings of each half in each of the two sets of the truth.
    """

    data: Path
    rows: int
    queries: int
    subsets: int
    seeds: int
    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    """Origin of the data and its labels, with injected label noise stated."""
    licence: ClassVar[str]
    """Licence of the data as its source states it."""

    @property
    @abstractmethod
    def recipe_words(self) -> str:
        """Description of the model and its training, with which others can train it."""

    @property
    @abstractmethod
    def train(self) -> fastif.Examples:
        """Training rows."""

    @property
    @abstractmethod
    def query_examples(self) -> fastif.Examples:
        """Queries, which are held out from training."""

    @property
    @abstractmethod
    def tuning_examples(self) -> fastif.Examples:
        """Further held-out rows for the selection of the damping; the LDS does not use them."""

    @cached_property
    @abstractmethod
    def train_ids(self) -> list[str]:
        """Ids of the training rows in their data set, in the order of `train`."""

    @cached_property
    @abstractmethod
    def query_ids(self) -> list[str]:
        """Ids of the queries in their data set, in the order of `query_examples`."""

    @abstractmethod
    def start(self, seed: int) -> fastif.Objective:
        """Return the model before training."""

    def at(self, objective: fastif.Objective, params: Params) -> fastif.Objective:
        """Return the objective at other parameters."""
        objective.params = params
        return objective

    @abstractmethod
    def train_model(self, seed: int) -> fastif.Objective:
        """Return the model trained on all rows."""

    @abstractmethod
    def checkpoints(self) -> list[fastif.Objective]:
        """Return the model of seed 0 at `PARTS` of its training."""

    @abstractmethod
    def train_on_subsets(
        self, halves: Sequence[Subset], seeds: Sequence[int], queries: fastif.Examples
    ) -> Float[Tensor, "m q"]:
        """Return the margins of the queries for models trained on each half, mean over seeds."""

    @property
    def key(self) -> str:
        """Name of the workload with its sizes, for the cache."""
        return f"{self.name}-{self.rows}-{self.queries}-{self.subsets}"

    @cached_property
    def halves(self) -> list[Subset]:
        """Random halves of the training rows, each in ascending order."""
        generator = torch.Generator().manual_seed(2021)
        draws = (torch.randperm(self.rows, generator=generator) for _ in range(self.subsets))
        return [draw[: self.rows // 2].sort().values for draw in draws]

    def truth(self, folder: Path) -> Truth:
        """Return the margins of the retrained models; seeds without a file in `folder` are run."""
        return measure_truth(self, folder / self.key, self.seeds)

    def answers(self, examples: fastif.Examples) -> Int[Tensor, " q"]:
        """Return the labels of all examples."""
        return examples.take(fastif.all_ids(examples))["labels"]


def read_random_rows(table: Path, count: int, without: int = 0) -> pl.DataFrame:
    """Return random rows of a table, in a fixed order, without the first `without` of it."""
    frame = pl.read_parquet(table)
    if without:
        frame = frame.join(frame.sample(without, seed=0, shuffle=True), on="id", how="anti")
    return frame.sample(count, seed=0, shuffle=True)


def margins(logits: Float[Tensor, "*m q c"], labels: Int[Tensor, " q"]) -> Float[Tensor, "*m q"]:
    """Return the margin log p / (1 - p) of the label, the output of the LDS."""
    index = labels.expand(logits.shape[:-1])[..., None]
    right = logits.gather(-1, index)[..., 0]
    rest = logits.scatter(-1, index, -torch.inf).logsumexp(-1)
    return right - rest
