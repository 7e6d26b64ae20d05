"""Bisection of two runs: which change of the training rows changed the loss of a slice."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from fastif import InputError
from storage import RunRecord, Store
from storage.run_comparison import RunMatching
from tasks.bisection.change_groups import group_changes
from tasks.bisection.contributions import Contribution, RunEffects, compute_contribution
from tasks.bisection.retraining_noise import RetrainingNoise, find_repeats, measure_noise
from tasks.bisection.slice_effects import read_slice_effects
from tasks.bisection.slice_losses import SliceLosses, read_slice_losses, scan_tables
from tasks.results.comparability import check_comparability
from tasks.results.compare_runs import describe_matching
from tasks.run.lookup import check_undamaged

ROWS_ONLY = ("train", "queries", "model", "models")
"""Parts of a run's record that are no settings."""


@dataclass(frozen=True, eq=False)
class Bisection:
    """Change of a slice's loss between two runs, split over the changed training rows.

    Attributes:
        runs: Names of the earlier and the later run.
        losses: Losses of the slice in both runs.
        contributions: Contribution of each group of changed rows, those that explain the change
            most first: in its direction, or by size alone where the direction is not significant;
            groups without stored effects last.
        settings: Settings that differ between the runs, one phrase each.
        noise: Fluctuation of the slice's loss from one training to another on the same rows; None
            if it was not measured.
        renamed: New name by old name of labels that were renamed.
        notes: Sentences on the matching of the rows and on what could not be used.
    """

    runs: tuple[str, str]
    losses: SliceLosses
    contributions: tuple[Contribution, ...]
    settings: tuple[str, ...]
    noise: RetrainingNoise | None
    renamed: dict[str, str]
    notes: tuple[str, ...]

    @property
    def explained(self) -> float:
        """Sum of the contributions, in nats."""
        return sum(each.value or 0.0 for each in self.contributions)

    @property
    def rest(self) -> float:
        """Change that no group explains, in nats: seed, settings, error of the prediction."""
        return self.losses.change - self.explained

    @property
    def suspects(self) -> tuple[Contribution, ...]:
        """Groups whose contribution has the direction of the change, the largest first."""
        direction = self.losses.direction
        return tuple(
            each
            for each in self.contributions
            if (each.value or 0.0) * direction > 0 or (not direction and each.value)
        )


def bisect_runs(
    store: Store, before: str, after: str, value: str | None = None, by: str | None = None
) -> Bisection:
    """Split the change of a slice's mean query loss over the training rows that changed.

    Everything is read from the store; nothing is computed by a model.

    Args:
        store: Store of the study.
        before: Name of the earlier run.
        after: Name of the later run.
        value: Slice: value of the first group column of the queries; all queries if None.
        by: Group column of the training rows; the first one if None.

    Raises:
        InputError: The runs cannot be compared, or there is no such slice or column.
        StoreError: There is no such run, or a file of it is damaged.
    """
    runs = (before, after)
    old, new = (store.read_record(check_undamaged(store, run)) for run in runs)
    _check_runs(store, old, new)
    tables = scan_tables(store, runs)
    matched = RunMatching.match(*tables)
    _check_labels(old, new, matched)
    losses = read_slice_losses(store, runs, matched, value)
    groups = group_changes(*tables, matched.train, by)
    earlier, later = (
        _read_effects(store, run, losses.queries[side])
        for run, side in zip(runs, ("before", "after"), strict=True)
    )
    contributions = [compute_contribution(group, earlier, later) for group in groups]
    settings = _describe_settings(old, new)
    notes = [*describe_matching(matched), *_describe_losses(losses)]
    noise = measure_noise(find_repeats(store, runs, losses))
    ordered = _sort_contributions(contributions, losses.direction)
    return Bisection(
        runs, losses, tuple(ordered), settings, noise, matched.train.renamed, tuple(notes)
    )


def _check_runs(store: Store, old: RunRecord, new: RunRecord) -> None:
    """Refuse runs between which no change of training rows can have changed the loss."""
    where = f"runs {old.run} and {new.run}"
    for record in (old, new):
        status = store.read_status(record.run)
        if not status.finished:
            got = f"{status.done} of {status.planned} shards"
            raise InputError(f"run {record.run}", "a finished run", got, "Run `fastif audit`.")
    if old.run == new.run:
        raise InputError(where, "two runs", "one run twice", "See `fastif runs`.")
    if _get_models(old) == _get_models(new):
        got = "the same model in both, so no loss changed"
        remedy = "Train again with the changed rows (`fastif train`), then audit."
        raise InputError(where, "models from two trainings", got, remedy)
    sizes = [
        store.scan("runs", run).select("parameters").collect().item() for run in (old.run, new.run)
    ]
    if sizes[0] != sizes[1]:
        got = f"{sizes[0]:,} and {sizes[1]:,} attributed parameters"
        remedy = "Audit both models with one architecture and one [parameters] section."
        raise InputError(where, "models of one architecture", got, remedy)


def _get_models(record: RunRecord) -> tuple[object, object]:
    return record.parts.get("model"), record.parts.get("models")


def _check_labels(old: RunRecord, new: RunRecord, matched: RunMatching) -> None:
    """Refuse runs with other labels, unless they were only renamed."""
    before, after = (set(map(str, _list_labels(record))) for record in (old, new))
    renamed = {**matched.queries.renamed, **matched.train.renamed}
    if {renamed.get(label, label) for label in before} != after:
        got = f"{', '.join(sorted(before))} and then {', '.join(sorted(after))}"
        remedy = "Losses over other labels cannot be compared: audit both models with one list."
        raise InputError(f"runs {old.run} and {new.run}", "equal labels", got, remedy)


def _list_labels(record: RunRecord) -> list[object]:
    labels = record.parts.get("labels", [])
    return list(labels) if isinstance(labels, list | tuple) else []


def _read_effects(store: Store, run: str, queries: pl.Series) -> RunEffects:
    untrained = store.scan("train", run).filter(~pl.col("trained")).select("train").collect()
    effects = read_slice_effects(store, run, queries)
    return RunEffects(effects, frozenset(untrained["train"].to_list()))


def _describe_settings(old: RunRecord, new: RunRecord) -> tuple[str, ...]:
    differing = {
        name
        for name in {*old.parts, *new.parts}
        if old.parts.get(name) != new.parts.get(name) and name not in ROWS_ONLY
    }
    reasons = check_comparability(old, new).reasons
    return tuple(reason for reason in reasons if reason.split(":")[0].split(".")[0] in differing)


def _describe_losses(losses: SliceLosses) -> Iterator[str]:
    if losses.unmatched:
        yield f"Queries of the later run that the earlier one lacks: {losses.unmatched:,}."
    if losses.dropped:
        yield f"Common queries without loss or scores in one of the runs: {losses.dropped:,}."


def _sort_contributions(contributions: list[Contribution], direction: int) -> list[Contribution]:
    def order(each: Contribution) -> tuple[bool, float]:
        value = each.value or 0.0
        return each.value is None, -value * direction if direction else -abs(value)

    return sorted(contributions, key=order)
