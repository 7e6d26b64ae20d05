"""MNIST with a multilayer perceptron."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch

import fastif
from benchmarks.fidelity.mlp import MlpWorkload, Recipe
from benchmarks.fidelity.workload import TUNED, read_random_rows


@dataclass(frozen=True, eq=False)
class MnistMlp(MlpWorkload):
    """MNIST with a network 784-256-128-10, ReLU, AdamW, 10 epochs; all parameters attributed."""

    rows: int = 5_000
    queries: int = 150
    subsets: int = 60
    seeds: int = 5
    name: ClassVar[str] = "mnist-mlp"
    title: ClassVar[str] = "MNIST, MLP 784-256-128-10"
    source: ClassVar[str] = "MNIST (LeCun, Cortes and Burges), from rasbt/mnist-pngs"
    licence: ClassVar[str] = "MIT (repository of the images)"
    recipe: ClassVar[Recipe] = Recipe((784, 256, 128, 10), epochs=10, batch=64, rate=1e-3)

    @cached_property
    def train(self) -> fastif.TensorExamples:
        return _encode(self._rows("train", self.rows))

    @cached_property
    def query_examples(self) -> fastif.TensorExamples:
        return _encode(self._rows("test", self.queries))

    @cached_property
    def tuning_examples(self) -> fastif.TensorExamples:
        return _encode(self._rows("test", TUNED, without=self.queries))

    @cached_property
    def train_ids(self) -> list[str]:
        return [f"train/{number}" for number in self._rows("train", self.rows)["id"]]

    @cached_property
    def query_ids(self) -> list[str]:
        return [f"test/{number}" for number in self._rows("test", self.queries)["id"]]

    def _rows(self, part: str, count: int, without: int = 0) -> pl.DataFrame:
        return read_random_rows(self.data / "mnist" / f"{part}.parquet", count, without)


def _encode(frame: pl.DataFrame) -> fastif.TensorExamples:
    pixels = np.stack([np.frombuffer(image, np.uint8) for image in frame["image"]])
    inputs = (torch.from_numpy(pixels).float() / 255 - 0.1307) / 0.3081
    return fastif.TensorExamples(inputs, torch.tensor(frame["label"].cast(pl.Int64).to_list()))
