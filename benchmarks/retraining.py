"""Effects of training rows against retraining of the upper layers on random halves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fastif
from benchmarks.fidelity.workload import Subset
from benchmarks.halves import Halves, bootstrap_scores
from fastif.data.examples import Examples
from fastif.evaluation.spectral_damping import select_damping_by_spectrum
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.correlation import spearman

PRODUCT, COSINE = "gradient product", "gradient cosine"
INFLUENCE = "influence, damping "
EARLIER = "influence at an earlier checkpoint, damping "
RULE = "influence by rule of thumb"
EARLIER_RULE = "influence at an earlier checkpoint by rule of thumb"
GRID = ", damping "
"""Between the name of a method and its damping, which is chosen on other halves."""
CACHE_BYTES = 2**30
Outcome = TypeVar("Outcome")

Rival = Callable[[fastif.Objective, Tensor, Tensor], Tensor]
"""Function of the model and the gradients of queries and rows to the effects of all rows."""


@dataclass(frozen=True)
class Plan:
    """Training, halves and dampings of a measurement.

    Attributes:
        recipe: Training of the attributed parameters.
        halves: Number of random halves on which the methods are compared.
        choice_halves: Number of further halves, which choose the damping; with 0 it is that of the
            rule of thumb.
        seeds: Number of trainings of each half, whose losses are averaged.
        dampings: Dampings of influence.
        rivals: Further methods by name.
        checkpoint: Fraction of the training at which influence is measured too; None for none.
        has_rule: Whether influence is measured at the damping of the rule of thumb too, also at
            the checkpoint.
        folder: Folder that keeps the losses of each retrained model, so that a stopped measurement
            goes on; None keeps none.
    """

    recipe: fastif.TrainingConfig
    halves: int
    choice_halves: int
    seeds: int
    dampings: tuple[float, ...]
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    checkpoint: float | None = None
    has_rule: bool = False
    folder: Path | None = None


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
        self.objective.params, earlier = self._fit_all_rows(initial)
        print("effects", flush=True)
        effects, seconds = measure_seconds(self._compute_effects)
        accuracy = self._compute_accuracy()
        effects |= self._compute_earlier_effects(earlier)
        first, outcomes = self.plan.choice_halves, -losses.mean(1)
        choice = score_means(Halves(halves[:first], outcomes[:first]), effects) if first else {}
        truth = Halves(halves[first:], outcomes[first:])
        return {
            "parameters": self.objective.space.size,
            "accuracy": accuracy,
            "lds": score_means(truth, effects),
            "choice": choice,
            "methods": bootstrap_scores(truth, select_methods(choice, effects)),
            "halves": self.plan.halves,
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

        def retrain(half: Subset, seed: int) -> Float[Tensor, " q"]:
            self.objective.params = self._fit(initial, self.train.subset(half), seed)
            return fastif.predict(self.objective, self.queries)[1]

        losses = [
            keep_losses(self.plan.folder, f"{number}-{seed}", partial(retrain, half, seed))
            for number, half in enumerate(halves)
            for seed in range(self.plan.seeds)
        ]
        return torch.stack(losses).unflatten(0, (len(halves), self.plan.seeds))

    def _fit_all_rows(
        self, initial: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Return the parameters after the training on all rows, and at the checkpoint."""
        kept: list[dict[str, Tensor]] = []
        self.objective.params = initial
        share = self.plan.checkpoint
        trained = fastif.fit(
            self.objective,
            self.train,
            self.plan.recipe,
            on_checkpoint=lambda _, params: kept.append(dict(params)),
            checkpoint_fractions=() if share is None else (share,),
        )
        return dict(trained), kept[0] if kept else None

    def _compute_effects(self) -> dict[str, Float[Tensor, "q n"]]:
        """Return the effects of every method."""
        gradients = fastif.Gradients(self.objective)
        rows = compute_loss_gradients(gradients, self.train)
        columns = compute_measure_gradients(gradients, self.queries)
        effects = {PRODUCT: columns @ rows.T, COSINE: compute_cosine(columns, rows)}
        for name, compute in self.plan.rivals.items():
            effects[name] = compute(self.objective, columns, rows)
        return effects | self._compute_influences(INFLUENCE) | self._compute_by_rule(RULE)

    def _compute_earlier_effects(
        self, params: dict[str, Tensor] | None
    ) -> dict[str, Float[Tensor, "q n"]]:
        """Return the effects at the checkpoint, and leave the model as it is."""
        if params is None:
            return {}
        trained, self.objective.params = self.objective.params, params
        effects = self._compute_by_rule(EARLIER_RULE)
        if self.plan.choice_halves:
            effects |= self._compute_influences(EARLIER)
        self.objective.params = trained
        return effects

    def _compute_by_rule(self, name: str) -> dict[str, Float[Tensor, "q n"]]:
        """Return the effects by influence at the damping of the rule of thumb, if planned."""
        if not self.plan.has_rule:
            return {}
        curvature = fastif.GaussNewton(self.objective, self.train)
        damping = select_damping_by_spectrum(curvature).damping
        return self._compute_influences(f"{name}, λ = ", (damping,))

    def _compute_influences(
        self, prefix: str, dampings: Sequence[float] = ()
    ) -> dict[str, Float[Tensor, "q n"]]:
        """Return the effects by influence at each damping, those of the plan if none is given."""
        curvature, solver = fastif.GaussNewton(self.objective, self.train), fastif.Dual()
        factor = solver.factor(curvature.with_damping(1.0))  # the same for every damping
        effects = {}
        for damping in dampings or self.plan.dampings:
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
            effects[f"{prefix}{damping:.3g}"] = compute_influence(attribute, self.queries)
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


def select_damping(choice: dict[str, float], prefix: str = INFLUENCE) -> str:
    """Return the name of a method with the damping of the highest LDS on the halves of the choice.

    Args:
        choice: LDS by name.
        prefix: Name of the method as far as its damping.
    """
    scores = {name: lds for name, lds in choice.items() if name.startswith(prefix)}
    return max(scores, key=lambda name: scores[name])


def select_methods(choice: dict[str, float], effects: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the effects of each method, influence first, then the two gradient methods.

    Of a method with several dampings, it is the chosen one; without a choice, it is left out, and
    influence is that of the rule of thumb.
    """
    methods = dict.fromkeys(name.partition(GRID)[0] for name in effects)
    rules = [name for name in effects if name.startswith(RULE)]
    leading = [INFLUENCE.removesuffix(GRID)] if choice else rules
    first = [*leading, PRODUCT, COSINE]
    order = [*first, *(method for method in methods if method not in first)]
    names = [
        method if method in effects else select_damping(choice, method + GRID)
        for method in order
        if choice or method in effects
    ]
    return {name: effects[name] for name in names}


def keep_losses(
    folder: Path | None, name: str, compute: Callable[[], Float[Tensor, " q"]]
) -> Float[Tensor, " q"]:
    """Return the losses that a folder keeps under a name, computed if it has none."""
    if folder is None:
        return compute()
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({"losses": compute().contiguous()}, part)
        part.replace(path)
        print(name, flush=True)
    return load_file(path)["losses"]


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
