"""Confirmation of the first suspects of a bisection by retraining without their change."""

from collections.abc import Iterator
from functools import partial

import polars as pl

from storage import Store
from tasks.bisection.bisect_runs import Bisection
from tasks.bisection.change_groups import ChangeGroup, describe_group
from tasks.bisection.conclusion import (
    Conclusion,
    Retraining,
    conclude,
    explain_no_retraining,
)
from tasks.bisection.retrain import retrain
from tasks.bisection.retraining_recipe import find_recipe
from tasks.bisection.reverted_rows import read_stored_table, revert_group
from tasks.data.dataset import Table
from tasks.study.study import Study

MAX_RETRAININGS = 2


def confirm_suspects(study: Study, store: Store, bisection: Bisection, count: int) -> Conclusion:
    """Train the later run's model again without the change of each of the first suspects.

    Every training is by the recipe and with the seed of the later run, on its rows with the change
    of one group reverted. Where the noise of retraining is not known from the store, and fewer than
    two suspects are tried, the unchanged rows with another seed are the control.

    Args:
        study: Present study.
        store: Store of the study.
        bisection: Bisection of two runs.
        count: Number of suspects to try, 0 to 2.

    Raises:
        InputError: A training fails, or a label of a run is none of the study.
    """
    if reason := explain_no_retraining(bisection, study.training is not None, count):
        return conclude(bisection, (), reason)
    suspects = [each.group for each in bisection.suspects[:count]]
    before, after = bisection.runs
    labels = study.labels

    def read_later(table: str) -> Table:
        return read_stored_table(store, after, table, labels, {})

    recipe = find_recipe(study, store.read_record(after), partial(read_later, "train"))
    if isinstance(recipe, str):
        return conclude(bisection, (), recipe)
    later = read_later("train")
    earlier = read_stored_table(store, before, "train", labels, bisection.renamed)
    sample = read_later("queries").take(bisection.losses.common["after"].to_list())
    has_control = bisection.noise is None and len(suspects) < MAX_RETRAININGS
    plans = [*_plan_reverted(later, earlier, suspects), *([(None, later)] if has_control else [])]
    retrainings = []
    for group, table in plans:
        seed = recipe.seed if group else recipe.seed + 1
        name = f"retraining without {describe_group(group)}" if group else f"control, seed {seed}"
        losses = retrain(recipe, table, sample, seed, name)
        known = bisection.losses.common
        difference = known["loss_after"] - pl.Series(losses, dtype=pl.Float64)
        frame = known.select("stratum", "chosen").with_columns(difference=difference)
        retrainings.append(Retraining(group, seed, frame))
    return conclude(bisection, retrainings)


def _plan_reverted(
    later: Table, earlier: Table, suspects: list[ChangeGroup]
) -> Iterator[tuple[ChangeGroup, Table]]:
    for group in suspects:
        yield group, revert_group(later, earlier, group)
