"""Retraining of a run's model on other rows or with another seed, and the losses of its queries."""

from collections.abc import Sequence

import fastif
from tasks.bisection.retraining_recipe import RetrainingRecipe
from tasks.data.dataset import Table
from tasks.models.finetune import make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.untrained_model import encode_rows, make_objective
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_bar


def retrain(
    recipe: RetrainingRecipe, table: Table, queries: Table, seed: int, name: str
) -> Sequence[float]:
    """Train by the recipe and return the cross-entropy of each query, in nats.

    With the rows and the seed of the run, the losses are those of the run.

    Args:
        recipe: Settings of the training.
        table: Training rows.
        queries: Queries, in the order of the result.
        seed: Seed of the new head and of the order of the rows.
        name: Description of the training, for its progress.
    """
    objective = _train(recipe, table, seed, name)
    examples = encode_rows(recipe.study, recipe.base, objective, queries)[1]
    return fastif.predict(objective, examples)[1].tolist()


def predict_retrained(
    recipe: RetrainingRecipe, table: Table, queries: Table, seed: int, name: str
) -> list[list[float]]:
    """Train by the recipe and return the outputs of each query, in logits.

    Args:
        recipe: Settings of the training.
        table: Training rows.
        queries: Queries, in the order of the result.
        seed: Seed of the new head and of the order of the rows.
        name: Description of the training, for its progress.
    """
    objective = _train(recipe, table, seed, name)
    examples = encode_rows(recipe.study, recipe.base, objective, queries)[1]
    return fastif.predict(objective, examples)[0].double().tolist()


def _train(recipe: RetrainingRecipe, table: Table, seed: int, name: str) -> fastif.Objective:
    study, base = recipe.study, recipe.base
    device = resolve_devices(study.run.devices)[0].torch
    objective = make_objective(study, base, table, seed, device)
    texts = encode_rows(study, base, objective, table)[1]
    objective.verify_shortcuts(texts)
    rows = cache_hidden_states(objective, texts, study)
    config = make_training_config(study, seed)
    with progress_bar(name, config.count_steps(len(table)), "steps") as advance:
        objective.params = fastif.fit(objective, rows, config, lambda *_: advance(1))
    return objective
