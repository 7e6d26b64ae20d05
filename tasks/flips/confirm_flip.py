"""Confirmation of a flip set: the model is trained again on edited rows, and on random ones."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bisection.retrain import predict_retrained
from tasks.data.dataset import Table
from tasks.flips.flip_answer import EditedTraining, FlipAnswer
from tasks.flips.flip_request import require_recipe
from tasks.planning.open_run import lease_run
from tasks.run.spec import RunRef

SEEDS = 2
"""Number of trainings with the flip set, and of those with random rows."""


@task(name="confirm-flip-set", cache_policy=NO_CACHE, persist_result=False)
def confirm_flip(answer: FlipAnswer, ref: RunRef) -> FlipAnswer:
    """Train by the recipe of the run with the rows of a flip set edited, and with random rows.

    The first training of each has the seed of the run, so that it differs from the run's model by
    the edited rows alone; the second has the next seed. Other trainings remove as many random rows,
    or relabel them to a random other label: they tell what retraining alone does.

    Raises:
        InputError: The recipe is not known for certain, or a training fails.
    """
    with lease_run(ref) as context:
        inputs, labels = context.plan.inputs, context.study.labels
        recipe = require_recipe(context.plan)
        # the label of the query decides nothing, and it may have none
        query = inputs.queries.take([answer.query]).with_labels([0])
        former, trainings = labels.index(answer.prediction), []
        for table, is_random, seed in _plan_trainings(
            inputs.train, answer, labels, recipe.seed, len(labels)
        ):
            name = f"training with {'random rows' if is_random else 'the set'}, seed {seed}"
            outputs = predict_retrained(recipe, table, query, seed, name)[0]
            others = max(value for label, value in enumerate(outputs) if label != former)
            prediction = labels[max(range(len(outputs)), key=outputs.__getitem__)]
            margin = outputs[former] - others
            trainings.append(EditedTraining(is_random, seed, prediction, margin))
        return replace(answer, trainings=tuple(trainings))


def _plan_trainings(
    train: Table, answer: FlipAnswer, labels: Sequence[str], seed: int, classes: int
) -> Iterator[tuple[Table, bool, int]]:
    """Yield the edited tables with their seeds: the flip set, and random rows."""
    names = [row.new_label for row in answer.rows]
    new = {
        row.position: None if name is None else labels.index(name)
        for row, name in zip(answer.rows, names, strict=True)
    }
    for number in range(SEEDS):
        draw = random.Random(seed + number)
        rows = draw.sample(range(len(train)), len(new))
        shifts = [draw.randrange(1, classes) for _ in rows]
        drawn: dict[int, int | None] = {
            row: (train.labels[row] + shift) % classes if answer.relabel else None
            for row, shift in zip(rows, shifts, strict=True)
        }
        yield edit_table(train, new), False, seed + number
        yield edit_table(train, drawn), True, seed + number


def edit_table(table: Table, new_labels: dict[int, int | None]) -> Table:
    """Return a table with rows relabelled, or left out where the new label is None."""
    labels = [
        label if (new := new_labels.get(row)) is None else new
        for row, label in enumerate(table.labels)
    ]
    left_out = {row for row, label in new_labels.items() if label is None}
    kept = [row for row in range(len(table)) if row not in left_out]
    return table.with_labels(labels).take(kept)
