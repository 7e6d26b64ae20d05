"""Retraining noise: fluctuation of a slice's mean loss between trainings on the same rows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from storage import RunRecord, Store
from storage.run_comparison import RunMatching, RunTables
from tasks.bisection.slice_losses import CONFIDENCE, SliceLosses

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

    A pair has one mean difference d_g for each stratum g (a slice, or a label). They are the sample
    of which the noise is the root mean square, weighted by the shares w_g of the queries: the
    variance is the mean over J pairs of max(Σ_g w_g d_g², d², s² / q), where d and s are mean and
    standard deviation of the q differences of the slice itself. Degrees of freedom are J times the
    number of strata; strata of one training move together in part, so that these are too many, and
    the maximum makes up for it.

    Args:
        pairs: One frame a pair, with the columns `stratum`, `chosen` (the query is in the slice)
            and `difference` (nats).

    Returns:
        The noise; None without a pair.

    Examples:
        >>> pair = pl.DataFrame({
        ...     "stratum": ["a", "a", "b", "b"],
        ...     "chosen": [True, True, False, False],
        ...     "difference": [0.2, 0.2, -0.1, -0.1],
        ... })
        >>> noise = measure_noise([pair])
        >>> round(noise.deviation, 4), noise.degrees
        (0.2, 2)
    """
    squares, strata = [], 0
    for pair in pairs:
        cells = pair.group_by("stratum").agg(
            share=pl.len() / len(pair), mean=pl.col("difference").mean()
        )
        chosen = pair.filter("chosen")["difference"]
        spread = float(chosen.var() or 0.0) / len(chosen)  # type: ignore[arg-type]
        by_stratum = float((cells["share"] * cells["mean"] ** 2).sum())
        squares.append(max(by_stratum, float(chosen.mean()) ** 2, spread))  # type: ignore[arg-type]
        strata = max(strata, len(cells))
    if not squares:
        return None
    deviation = math.sqrt(sum(squares) / len(squares))
    return RetrainingNoise(deviation, strata * len(squares), len(squares))


def find_repeats(store: Store, runs: tuple[str, str], losses: SliceLosses) -> list[pl.DataFrame]:
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
        queries = losses.common.select("stratum", "chosen", query=side, loss=loss)
        for status in statuses:
            if _is_repeat(status.record, record):
                frames.append(_pair_losses(store, run, status.record.run, queries))
    return [frame for frame in frames if frame["chosen"].any()]


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
    """Return stratum and difference of the loss of the queries that both runs have."""
    sides: Sequence[RunTables] = [RunTables.scan(store, name) for name in (run, other)]
    common = RunMatching.match(*sides).common_queries
    position = pl.col("query").cast(pl.UInt32).alias("after")
    rows = sides[1].queries.select(position, other=pl.col("loss").cast(pl.Float64)).collect()
    joined = common.join(queries, left_on="before", right_on="query").join(rows, on="after")
    difference = pl.col("other") - pl.col("loss")
    return joined.drop_nulls("other").select("stratum", "chosen", difference=difference)
