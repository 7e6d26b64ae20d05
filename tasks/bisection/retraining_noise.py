"""Retraining noise: fluctuation of a slice's mean loss between trainings on the same rows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from storage import RunRecord, Store
from tasks.bisection.slice_losses import CONFIDENCE, SliceLosses
from storage.run_comparison import RunMatching, RunTables

NOT_ROWS = ("model", "models", "queries", "certificate", "groups", "carried")
"""Parts of a record that may differ between two trainings on the same rows and settings."""


@dataclass(frozen=True)
class RetrainingNoise:
    """Standard deviation of the difference of a slice's mean loss between two trainings.

    Attributes:
        deviation: Standard deviation in nats.
        degrees: Degrees of freedom of its estimate.
        trainings: Number of pairs of trainings that it is estimated from.
    """

    deviation: float
    degrees: int
    trainings: int

    @property
    def margin(self) -> float:
        """Bound of a difference that noise exceeds in 5 % of cases: Student's t times deviation."""
        from scipy.special import stdtrit  # slow, and not needed for a refusal

        return float(stdtrit(self.degrees, 0.5 + CONFIDENCE / 2)) * self.deviation


def measure_noise(pairs: Iterable[pl.DataFrame]) -> RetrainingNoise | None:
    """Estimate the noise from the query losses of pairs of trainings on the same rows.

    A training shifts the losses of all queries with one label together, mainly by the bias of that
    class. For shares w and mean differences m of the labels l of a slice, with m independent
    between labels, the variance of the slice's mean difference is Σ_l w_l² E[m_l²]; its estimate
    from J pairs is the mean of Σ_l w_l² m_l², with J times the number of labels as degrees of
    freedom. The squared mean difference itself is used where it is larger, as where all labels move
    together.

    Args:
        pairs: One frame a pair, with the columns `label` and `difference` (nats).

    Returns:
        The noise; None without a pair.

    Examples:
        >>> labels = ["a", "a", "b", "b"]
        >>> pair = pl.DataFrame({"label": labels, "difference": [0.2, 0.4, -0.1, -0.1]})
        >>> noise = measure_noise([pair])
        >>> round(noise.deviation, 4), noise.degrees
        (0.1581, 2)
    """
    squares, labels = [], 0
    for pair in pairs:
        cells = pair.group_by("label").agg(
            share=pl.len() / len(pair), mean=pl.col("difference").mean()
        )
        by_label = float(((cells["share"] * cells["mean"]) ** 2).sum())
        squares.append(max(by_label, float(pair["difference"].mean()) ** 2))  # type: ignore[arg-type]
        labels = max(labels, len(cells))
    if not squares:
        return None
    deviation = math.sqrt(sum(squares) / len(squares))
    return RetrainingNoise(deviation, labels * len(squares), len(squares))


def find_repeats(
    store: Store, runs: tuple[str, str], losses: SliceLosses
) -> list[pl.DataFrame]:
    """Return differences of the slice's losses between each of two runs and its repeats.

    A repeat is a finished run of the store with the same training rows and settings and another
    model: another training, as with another seed.

    Args:
        store: Store of the study.
        runs: Names of the earlier and the later run.
        losses: Losses of the slice in both.
    """
    statuses = [status for status in store.list_runs() if status.is_intact]
    frames = []
    for run, side, loss in zip(runs, ("before", "after"), ("loss", "loss_after"), strict=True):
        record = store.read_record(run)
        queries = losses.queries.select("label", query=side, loss=loss)
        for status in statuses:
            if _is_repeat(status.record, record):
                frames.append(_pair_losses(store, run, status.record.run, queries))
    return [frame for frame in frames if not frame.is_empty()]


def _is_repeat(other: RunRecord, record: RunRecord) -> bool:
    if other.parts.get("model") == record.parts.get("model"):
        return False
    here, there = (_drop_seed(each.parts) for each in (record, other))
    names = {*here, *there} - {*NOT_ROWS}
    return all(here.get(name) == there.get(name) for name in names)


def _drop_seed(parts: dict[str, object]) -> dict[str, object]:
    """Return the parts of a record with the recipe of retraining, if any, without its seed."""
    recipe = parts.get("recipe")
    if not isinstance(recipe, dict):
        return parts
    return parts | {"recipe": {key: value for key, value in recipe.items() if key != "seed"}}


def _pair_losses(store: Store, run: str, other: str, queries: pl.DataFrame) -> pl.DataFrame:
    """Return label and difference of the loss of the queries that both runs have."""
    sides: Sequence[RunTables] = [RunTables.scan(store, name) for name in (run, other)]
    common = RunMatching.match(*sides).common_queries
    position = pl.col("query").cast(pl.UInt32).alias("after")
    rows = sides[1].queries.select(position, other=pl.col("loss").cast(pl.Float64)).collect()
    joined = common.join(queries, left_on="before", right_on="query").join(rows, on="after")
    difference = pl.col("other") - pl.col("loss")
    return joined.drop_nulls("other").select("label", difference=difference)
