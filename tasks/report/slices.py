"""Who harms whom: training sources against query slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, ttest_1samp

from tasks.report.formatting import Row
from tasks.report.run_data import Night
from tasks.results.slice_accuracy import worst_first

MOST = 12
"""Slices or sources that a matrix shows, the largest first; the rest is in the store."""

LEAST = 5
"""Queries that a mean is tested by."""


@dataclass(frozen=True)
class Slices:
    """Effects summed by source and slice.

    Attributes:
        slice: what the queries are sliced by.
        source: what the training rows are grouped by.
        matrix: columns source, slice, effect (nats, summed), pairs.
        correlations: of the summed effects of two slices over training rows: a, b, correlation.
        ranking: sources with the mean of their effect over queries, its test and its q-value.
        accuracy: of each slice: queries, accuracy, mean loss.
        balance: labels with their share of all rows, of the most harmful and the most helpful.
        whole: whether every effect is summed, and not only those that were kept.
    """

    slice: str
    source: str
    matrix: pl.DataFrame
    correlations: pl.DataFrame
    ranking: list[Row]
    accuracy: list[Row]
    balance: list[Row]
    whole: bool


def slices_of(night: Night) -> Slices:
    """Sums over all scores of a night that were kept, or over all where totals were."""
    whole = len(night.totals) > 0 and night.slice.startswith("group_")
    sums = _sums(night, whole)
    by_source = sums.join(night.train.select("train", source=night.source), on="train")
    matrix = by_source.group_by("source", "slice", maintain_order=True).agg(
        pl.col("effect").sum(), pairs=pl.col("pairs").sum()
    )
    return Slices(
        night.slice.removeprefix("group_"),
        night.source.removeprefix("group_"),
        _largest(night, matrix),
        _correlations(sums, _values(night.queries, night.slice)),
        _ranking(night),
        _accuracy(night),
        _balance(night),
        whole,
    )


def _sums(night: Night, whole: bool) -> pl.DataFrame:
    """Columns train, slice, effect, pairs."""
    if whole:
        named = night.totals.with_columns(slice="group")
        return named.group_by("train", "slice", maintain_order=True).agg(
            effect=pl.col("removal_effect").sum(), pairs=pl.col("queries").sum()
        )
    asked = night.queries.select("query", slice=night.slice)
    effect = pl.col("removal_effect").cast(pl.Float64)
    return (
        night.scores.join(asked, on="query")
        .group_by("train", "slice", maintain_order=True)
        .agg(effect=effect.sum(), pairs=pl.len())
    )


def _values(frame: pl.DataFrame, column: str) -> list[str | None]:
    """The most frequent values; None for the rows without one, which no value of a user is."""
    counts = frame.group_by(value=pl.col(column)).len().sort(-pl.col("len").cast(int), "value")
    return counts["value"].head(MOST).to_list()


def _largest(night: Night, matrix: pl.DataFrame) -> pl.DataFrame:
    slices, sources = _values(night.queries, night.slice), _values(night.train, night.source)
    return matrix.filter(_among("slice", slices), _among("source", sources)).sort("source", "slice")


def _among(column: str, values: Sequence[str | None]) -> pl.Expr:
    return pl.col(column).is_in(pl.Series(values, dtype=pl.String).implode(), nulls_equal=True)


def _correlations(sums: pl.DataFrame, slices: Sequence[str | None]) -> pl.DataFrame:
    """Pearson's, over training rows that have an effect on either."""
    kept = sums.filter(_among("slice", slices))
    names = kept["slice"].unique().sort().to_list()
    # Columns are numbered: a slice may be called `train`.
    numbers = pl.DataFrame(
        {"slice": names, "number": range(len(names))}, {"slice": pl.String, "number": pl.Int64}
    )
    wide = kept.join(numbers, on="slice", nulls_equal=True).pivot(
        "number", index="train", values="effect", sort_columns=True
    )
    values = wide.drop("train").fill_null(0.0).to_numpy()
    with np.errstate(invalid="ignore"):
        found = np.atleast_2d(np.corrcoef(values, rowvar=False)) if len(wide) > 2 else None
    if found is None:
        return pl.DataFrame(schema={"a": pl.String, "b": pl.String, "correlation": pl.Float64})
    pairs = [(a, b, float(found[i, j])) for i, a in enumerate(names) for j, b in enumerate(names)]
    kinds = {"a": pl.String, "b": pl.String, "correlation": pl.Float64}
    frame = pl.DataFrame(pairs, kinds, orient="row")
    return frame.with_columns(pl.col("correlation").fill_nan(None))


def _ranking(night: Night) -> list[Row]:
    """Sources by the mean of their summed effect on a query; a t-test over queries each.

    Many sources are tested at once, so the false discovery rate is controlled (Benjamini and
    Hochberg, 1995).
    """
    sources = _values(night.train, night.source)
    named = night.train.select("train", source=night.source)
    effect = pl.col("removal_effect").cast(pl.Float64)
    sums = (
        night.scores.join(named, on="train")
        .group_by("query", "source", maintain_order=True)
        .agg(effect=effect.sum())
    )
    asked = night.scores["query"].n_unique()
    found: list[Row] = []
    for source in sources:
        told = sums.filter(pl.col("source").eq_missing(pl.lit(source)))["effect"].to_numpy()
        effects = np.concatenate([told, np.zeros(asked - len(told))])  # no row among candidates
        tested = asked >= LEAST and float(effects.std()) > 0
        test = ttest_1samp(effects, 0.0) if tested else None
        p = float(test.pvalue) if test else 1.0  # type: ignore[attr-defined]
        rows = named.filter(pl.col("source").eq_missing(pl.lit(source))).height
        found.append(
            {"source": source, "rows": rows, "sum": float(effects.sum()), "p": p,
             "mean": float(effects.mean()) if asked else 0.0,
             "harmed": float((effects < 0).mean()) if asked else 0.0}
        )  # fmt: skip
    if found:
        adjusted = false_discovery_control([row["p"] for row in found])
        found = [row | {"q": float(q)} for row, q in zip(found, adjusted, strict=True)]
    return sorted(found, key=lambda row: float(str(row["mean"])))


def _accuracy(night: Night) -> list[Row]:
    return worst_first(night.queries, night.slice).head(2 * MOST).to_dicts()


def _balance(night: Night) -> list[Row]:
    """Of the ten most harmful and most helpful rows of every wrong query."""
    wrong = night.queries.filter(~pl.col("correct")).select("query")
    told = night.scores.join(wrong, on="query", how="semi").sort("query", "rank")
    labels = night.train.select("train", "label")
    low = told.group_by("query").head(10).filter(pl.col("removal_effect") < 0)
    high = told.group_by("query").tail(10).filter(pl.col("removal_effect") > 0)
    ends = {"harmful": low, "helpful": high}
    shares = {
        name: dict(end.join(labels, on="train")["label"].value_counts(normalize=True).iter_rows())
        for name, end in ends.items()
    }
    base = night.train["label"].value_counts(normalize=True).sort("label")
    return [
        {"label": label, "all": share, **{n: s.get(label, 0.0) for n, s in shares.items()}}
        for label, share in base.iter_rows()
    ]
