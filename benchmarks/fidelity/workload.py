"""A workload: a model, its training rows and queries, and how to train it again on some of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import polars as pl
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif

FIRST_SEED = 1000
"""Of the models that the truth is made of; others are below."""

TUNED = 64
PARTS = (1 / 8, 1 / 4, 1 / 2)
"""Of the training that have passed at the checkpoints that are averaged with the end."""

Subset = Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class Workload(ABC):
    """What the fidelity of effects is measured on.

    Args:
        data: the folder with the data sets.
        rows: training rows; queries: questions; subsets: random half-subsets that the model is
            trained on again; seeds: trainings of each subset, whose margins are averaged.
    """

    data: Path
    rows: int
    queries: int
    subsets: int
    seeds: int
    name: ClassVar[str]
    title: ClassVar[str]
    only_damping: ClassVar[bool] = False
    """A third workload shows only whether the damping is chosen well."""

    @property
    @abstractmethod
    def train(self) -> fastif.Examples:
        """The training rows."""

    @property
    @abstractmethod
    def query_examples(self) -> fastif.Examples:
        """The queries: rows that were not trained on."""

    @property
    @abstractmethod
    def tuning_examples(self) -> fastif.Examples:
        """Other such rows, for choosing a damping: no answer is judged on them."""

    @abstractmethod
    def start(self, seed: int) -> fastif.Objective:
        """The model before training."""

    @abstractmethod
    def train_model(self, seed: int) -> fastif.Objective:
        """The model trained on all rows."""

    @abstractmethod
    def checkpoints(self) -> list[fastif.Objective]:
        """The model of seed 0 at `PARTS` of its training."""

    @abstractmethod
    def train_on_subsets(
        self, halves: Sequence[Subset], seeds: Sequence[int], queries: fastif.Examples
    ) -> Float[Tensor, "m q"]:
        """Margins of the queries under models trained on each half, averaged over seeds."""

    @property
    def key(self) -> str:
        """Names the workload at these sizes."""
        return f"{self.name}-{self.rows}-{self.queries}-{self.subsets}x{self.seeds}"

    @cached_property
    def halves(self) -> list[Subset]:
        """The random half-subsets, in ascending order each."""
        generator = torch.Generator().manual_seed(2021)
        draws = (torch.randperm(self.rows, generator=generator) for _ in range(self.subsets))
        return [draw[: self.rows // 2].sort().values for draw in draws]

    def truth(self, folder: Path) -> Float[Tensor, "m q"]:
        """The margins of the retrained models, kept in `folder` once they are there."""
        path = folder / f"{self.key}.safetensors"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            seeds = range(FIRST_SEED, FIRST_SEED + self.seeds)
            save_file(
                {"margins": self.train_on_subsets(self.halves, seeds, self.query_examples)}, path
            )
        return load_file(path)["margins"]

    def answers(self, examples: fastif.Examples) -> Int[Tensor, " q"]:
        """The labels of all of them."""
        return examples.take(fastif.all_ids(examples))["labels"]


def read_random_rows(table: Path, count: int, without: int = 0) -> pl.DataFrame:
    """Random rows of a table, none of which is among the first `without` that are drawn so."""
    frame = pl.read_parquet(table)
    if without:
        frame = frame.join(frame.sample(without, seed=0, shuffle=True), on="id", how="anti")
    return frame.sample(count, seed=0, shuffle=True)


def margins(logits: Float[Tensor, "*m q c"], labels: Int[Tensor, " q"]) -> Float[Tensor, "*m q"]:
    """Log p / (1 - p) of the label: the output that retraining is judged by."""
    index = labels.expand(logits.shape[:-1])[..., None]
    right = logits.gather(-1, index)[..., 0]
    rest = logits.scatter(-1, index, -torch.inf).logsumexp(-1)
    return right - rest
