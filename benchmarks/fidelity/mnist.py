"""MNIST with a multilayer perceptron; many networks are trained in one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import fastif
from benchmarks.fidelity.workload import PARTS, TUNED, Subset, Workload, margins, read_random_rows

WIDTHS = (784, 256, 128, 10)
EPOCHS, BATCH, RATE, DECAY = 10, 64, 1e-3, 1e-2
TOGETHER = 30
"""Number of models trained in one batch of matrix products."""


@dataclass(frozen=True, eq=False)
class MnistMlp(Workload):
    """MNIST with a network 784-256-128-10, ReLU, AdamW, 10 epochs; all parameters attributed."""

    rows: int = 5_000
    queries: int = 150
    subsets: int = 60
    seeds: int = 5
    name: ClassVar[str] = "mnist-mlp"
    title: ClassVar[str] = "MNIST, MLP 784-256-128-10"

    @cached_property
    def train(self) -> fastif.TensorExamples:
        return self._rows("train", self.rows)

    @cached_property
    def query_examples(self) -> fastif.TensorExamples:
        return self._rows("test", self.queries)

    @cached_property
    def tuning_examples(self) -> fastif.TensorExamples:
        return self._rows("test", TUNED, without=self.queries)

    def start(self, seed: int) -> fastif.ModuleObjective:
        return self._objective(_fresh([seed]))

    def train_model(self, seed: int) -> fastif.ModuleObjective:
        return self._objective(self._fit([torch.arange(self.rows)], [seed]))

    def checkpoints(self) -> list[fastif.ModuleObjective]:
        objectives: list[fastif.ModuleObjective] = []
        self._fit([torch.arange(self.rows)], [0], lambda w: objectives.append(self._objective(w)))
        return objectives

    def _objective(self, weights: list[Tensor]) -> fastif.ModuleObjective:
        """Return the first network of a batch of weights."""
        linear = [nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
        for layer, weight, bias in zip(linear, weights[0::2], weights[1::2], strict=True):
            layer.weight.data, layer.bias.data = weight[0].T.contiguous(), bias[0, 0]
        model = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
        return fastif.ModuleObjective(model, fastif.CrossEntropy())

    def train_on_subsets(
        self, halves: Sequence[Subset], seeds: Sequence[int], queries: fastif.Examples
    ) -> Float[Tensor, "m q"]:
        query_batch = queries.take(fastif.all_ids(queries))
        runs = [(half, seed) for half in halves for seed in seeds]
        run_margins = []
        for start in range(0, len(runs), TOGETHER):
            subsets, run_seeds = zip(*runs[start : start + TOGETHER], strict=True)
            weights = self._fit(subsets, run_seeds)
            logits = _forward(weights, query_batch["inputs"][None])
            run_margins.append(margins(logits, query_batch["labels"]))
        return torch.cat(run_margins).view(len(halves), len(seeds), -1).mean(1)

    def _fit(
        self,
        parts: Sequence[Subset],
        seeds: Sequence[int],
        keep: Callable[[list[Tensor]], None] = lambda weights: None,
    ) -> list[Tensor]:
        """Train one network a subset in a batch, each with its own seed, and return the weights.

        `keep` receives the weights at `PARTS` of the training.
        """
        weights = [w.requires_grad_() for w in _fresh(seeds)]
        optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        steps = -(-len(parts[0]) // BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, EPOCHS * steps)
        kept, step = {round(part * EPOCHS * steps) for part in PARTS}, 0
        for _ in range(EPOCHS):
            pairs = zip(parts, generators, strict=True)
            order = torch.stack([p[torch.randperm(len(p), generator=g)] for p, g in pairs])
            for ids in order.split(BATCH, dim=1):
                logits = _forward(weights, self.train.inputs[ids])
                loss = F.cross_entropy(
                    logits.flatten(0, 1), self.train.labels[ids].flatten(), reduction="sum"
                )
                optimiser.zero_grad()
                (loss / ids.shape[1]).backward()  # a mean for each network
                optimiser.step()
                schedule.step()
                step += 1
                if step in kept:
                    keep([w.detach().clone() for w in weights])
        return [w.detach() for w in weights]

    def _rows(self, part: str, count: int, without: int = 0) -> fastif.TensorExamples:
        frame = read_random_rows(self.data / "mnist" / f"{part}.parquet", count, without)
        pixels = np.stack([np.frombuffer(image, np.uint8) for image in frame["image"]])
        inputs = (torch.from_numpy(pixels).float() / 255 - 0.1307) / 0.3081
        return fastif.TensorExamples(inputs, torch.tensor(frame["label"].cast(pl.Int64).to_list()))


def _fresh(seeds: Sequence[int]) -> list[Tensor]:
    """Return random weights [m in out] and biases [m 1 out], initialized as by nn.Linear."""
    weights = []
    for inside, out in pairwise(WIDTHS):
        layers = []
        for seed in seeds:
            torch.manual_seed(seed * 10 + len(weights))
            layers.append(nn.Linear(inside, out))
        weights.append(torch.stack([layer.weight.detach().T for layer in layers]))
        weights.append(torch.stack([layer.bias.detach()[None] for layer in layers]))
    return weights


def _forward(weights: Sequence[Tensor], inputs: Tensor) -> Float[Tensor, "m b c"]:
    hidden = inputs.expand(len(weights[0]), -1, -1)
    for weight, bias in zip(weights[0::2], weights[1::2], strict=True):
        hidden = torch.baddbmm(bias, hidden, weight)
        hidden = hidden.relu() if weight is not weights[-2] else hidden
    return hidden
