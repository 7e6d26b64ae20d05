"""Workloads with a multilayer perceptron; many networks are trained in one batch."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import fastif
from benchmarks.fidelity.workload import PARTS, Subset, Workload, margins

TOGETHER = 30
"""Number of models trained in one batch of matrix products."""


@dataclass(frozen=True)
class Recipe:
    """Network and training: AdamW whose rate falls linearly to a hundredth.

    Attributes:
        widths: Number of inputs, of hidden units of each layer, and of classes.
        epochs: Number of passes over the rows.
        batch: Number of rows in a step.
        rate: Learning rate of the first step.
        decay: Decoupled weight decay.
    """

    widths: tuple[int, ...]
    epochs: int
    batch: int
    rate: float
    decay: float = 1e-2


@dataclass(frozen=True, eq=False)
class MlpWorkload(Workload):
    """Network of linear layers with ReLU on a table of numbers; all parameters attributed."""

    recipe: ClassVar[Recipe]

    @property
    @abstractmethod
    def train(self) -> fastif.TensorExamples:
        """Training rows."""

    @property
    def recipe_words(self) -> str:
        recipe = self.recipe
        return (
            f"multilayer perceptron {'-'.join(map(str, recipe.widths))} with ReLU, all parameters "
            f"attributed; AdamW, {recipe.epochs} epochs in batches of {recipe.batch}, learning "
            f"rate {recipe.rate:g} falling linearly to a hundredth, weight decay {recipe.decay:g}"
        )

    def start(self, seed: int) -> fastif.ModuleObjective:
        return self._objective(self._fresh([seed]))

    def train_model(self, seed: int) -> fastif.ModuleObjective:
        return self._objective(self._fit([torch.arange(self.rows)], [seed]))

    def checkpoints(self) -> list[fastif.ModuleObjective]:
        objectives: list[fastif.ModuleObjective] = []
        self._fit([torch.arange(self.rows)], [0], lambda w: objectives.append(self._objective(w)))
        return objectives

    def _objective(self, weights: list[Tensor]) -> fastif.ModuleObjective:
        """Return the first network of a batch of weights."""
        layers: list[nn.Module] = []
        for weight, bias in zip(weights[0::2], weights[1::2], strict=True):
            linear = nn.Linear(*weight.shape[1:])
            linear.weight.data, linear.bias.data = weight[0].T.contiguous(), bias[0, 0]
            layers += [linear, nn.ReLU()]
        return fastif.ModuleObjective(nn.Sequential(*layers[:-1]), fastif.CrossEntropy())

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
        recipe = self.recipe
        weights = [w.requires_grad_() for w in self._fresh(seeds)]
        optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        steps = recipe.epochs * -(-len(parts[0]) // recipe.batch)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
        kept, step = {round(part * steps) for part in PARTS}, 0
        for _ in range(recipe.epochs):
            pairs = zip(parts, generators, strict=True)
            order = torch.stack([p[torch.randperm(len(p), generator=g)] for p, g in pairs])
            for ids in order.split(recipe.batch, dim=1):
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

    def _fresh(self, seeds: Sequence[int]) -> list[Tensor]:
        """Return random weights [m in out] and biases [m 1 out], initialized as by nn.Linear."""
        weights = []
        for inside, out in pairwise(self.recipe.widths):
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
