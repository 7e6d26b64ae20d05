"""Effects of training rows against retraining of the upper layers on random halves."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

import fastif
from benchmarks.fidelity.workload import Subset
from benchmarks.halves import Halves, bootstrap_scores
from fastif.data.examples import Examples
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.correlation import spearman

PRODUCT, COSINE = "gradient product", "gradient cosine"
INFLUENCE = "influence, damping "
CACHE_BYTES = 2**30
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Plan:
    """Training, halves and dampings of a measurement.

    Attributes:
        recipe: Training of the attributed parameters.
        halves: Number of random halves on which the methods are compared.
        choice_halves: Number of further halves, which choose the damping.
        seeds: Number of trainings of each half, whose losses are averaged.
        dampings: Dampings of influence.
    """

    recipe: fastif.TrainingConfig
    halves: int
    choice_halves: int
    seeds: int
    dampings: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One model with its rows; frozen layers run once.

    Attributes:
        objective: Model before the training of its attributed parameters.
        train: Training rows.
        queries: Queries, which are held out.
        plan: Training, halves and dampings.
    """

    objective: fastif.Objective
    train: PrefixCache
    queries: PrefixCache
    plan: Plan

    def measure(self) -> dict:
        """Return the LDS of all methods with intervals, and the facts of the model."""
        initial = dict(self.objective.params)
        halves = self._draw_halves()
        print("retraining", flush=True)
        losses, retrain_seconds = measure_seconds(lambda: self._retrain(initial, halves))
        self.objective.params = self._fit(initial, self.train, 0)
        print("effects", flush=True)
        effects, seconds = measure_seconds(self._compute_effects)
        first, outcomes = self.plan.choice_halves, -losses.mean(1)
        choice = score_means(Halves(halves[:first], outcomes[:first]), effects)
        truth = Halves(halves[first:], outcomes[first:])
        return {
            "parameters": self.objective.space.size,
            "accuracy": self._compute_accuracy(),
            "lds": score_means(truth, effects),
            "choice": choice,
            "methods": bootstrap_scores(truth, select_methods(choice, effects)),
            "seeds": correlate_seeds(losses[first:]),
            "retrain_seconds": retrain_seconds,
            "seconds": seconds,
        }

    def _draw_halves(self) -> list[Subset]:
        generator, rows = torch.Generator().manual_seed(0), len(self.train)
        count = self.plan.halves + self.plan.choice_halves
        return [torch.randperm(rows, generator=generator)[: rows // 2] for _ in range(count)]

    def _fit(self, initial: dict[str, Tensor], rows: Examples, seed: int) -> dict[str, Tensor]:
        self.objective.params = initial
        return dict(fastif.fit(self.objective, rows, replace(self.plan.recipe, seed=seed)))

    def _retrain(
        self, initial: dict[str, Tensor], halves: list[Subset]
    ) -> Float[Tensor, "m seeds q"]:
        """Return the queries' losses after training on each half with each seed."""
        losses = []
        for half in halves:
            for seed in range(self.plan.seeds):
                self.objective.params = self._fit(initial, self.train.subset(half), seed)
                losses.append(fastif.predict(self.objective, self.queries)[1])
        return torch.stack(losses).unflatten(0, (len(halves), self.plan.seeds))

    def _compute_effects(self) -> dict[str, Float[Tensor, "q n"]]:
        """Return the effects of every method."""
        gradients = fastif.Gradients(self.objective)
        rows = compute_loss_gradients(gradients, self.train)
        columns = compute_measure_gradients(gradients, self.queries)
        curvature, solver = fastif.GaussNewton(self.objective, self.train), fastif.Dual()
        factor = solver.factor(curvature.with_damping(1.0))  # the same for every damping
        effects = {PRODUCT: columns @ rows.T, COSINE: compute_cosine(columns, rows)}
        for damping in self.plan.dampings:
            attribute = fastif.Attributor(
                self.objective,
                self.train,
                curvature.with_damping(damping),
                solver,
                fastif.ExhaustiveSearch(),
                factor,
                certify_rows=0,
                leverage="off",
            )
            effects[f"{INFLUENCE}{damping:g}"] = compute_influence(attribute, self.queries)
        return effects

    def _compute_accuracy(self) -> float:
        logits = fastif.predict(self.objective, self.queries)[0]
        labels = self.queries.take(fastif.all_ids(self.queries))["labels"]
        return float((logits.argmax(1) == labels).float().mean())


def measure_halves(
    objective: fastif.Objective, train: Examples, queries: Examples, plan: Plan
) -> dict:
    """Return the LDS of influence, gradient product and gradient cosine for one model."""
    cached = (PrefixCache(objective, rows, CACHE_BYTES) for rows in (train, queries))
    return Measurement(objective, *cached, plan).measure()


def compute_influence(attribute: fastif.Attributor, queries: Examples) -> Float[Tensor, "q n"]:
    """Return the removal effects of all training rows, in the order of the rows."""
    answer = attribute(queries).influences
    effects = torch.zeros(answer.ids.shape, dtype=torch.float64)
    return effects.scatter_(1, answer.ids, answer.removal_effect.double())


def compute_cosine(
    queries: Float[Tensor, "q p"], train: Float[Tensor, "n p"]
) -> Float[Tensor, "q n"]:
    """Return the cosines of gradients of queries and training rows."""
    return nn.functional.normalize(queries) @ nn.functional.normalize(train).T


def select_damping(choice: dict[str, float]) -> str:
    """Return the name of influence with the highest LDS on the halves of the choice."""
    scores = {name: lds for name, lds in choice.items() if name.startswith(INFLUENCE)}
    return max(scores, key=lambda name: scores[name])


def select_methods(choice: dict[str, float], effects: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the effects of influence at the chosen damping, and of the two other methods."""
    return {name: effects[name] for name in (select_damping(choice), PRODUCT, COSINE)}


def score_means(truth: Halves, effects: dict[str, Tensor]) -> dict[str, float]:
    """Return the LDS of each method."""
    return {name: truth.score_mean(effect) for name, effect in effects.items()}


def correlate_seeds(losses: Float[Tensor, "m seeds q"]) -> float:
    """Return the rank correlation of the losses with two seeds, mean over the queries."""
    return float(spearman(losses[:, 0].T, losses[:, 1].T).nanmean())


def measure_seconds(call: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """Return what a call returns, and its seconds of processor time."""
    start = time.process_time()
    return call(), time.process_time() - start


def zero_head(model: nn.Module) -> None:
    """Set the last linear layer, a new head, to zeros."""
    head = next(m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear))
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
