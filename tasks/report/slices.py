"""Influence of sources of training rows on slices of queries: sums, correlations, tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, ttest_1samp

from storage.ranking import RANKING
from tasks.report.formatting import Row
from tasks.report.harm_shares import HarmShare, list_harm_shares
from tasks.report.run_data import RunData
from tasks.results.slice_accuracy import rank_slices

MAX_VALUES = 12
"""Largest number of slices or sources in a matrix, the most frequent first."""

MIN_QUERIES = 5
"""Least number of queries for a t-test."""


@dataclass(frozen=True)
class SourceSliceEffects:
    """Effects summed by source and slice.

    Attributes:
        slice_name: Name of the column that slices the queries.
        source_name: Name of the column that groups the training rows.
        matrix: Table with columns source, slice, effect (nats, summed), pairs.
        correlations: Table with columns a, b, correlation: correlation over training rows of the
            summed effects on slices a and b.
        ranking: Sources with their mean effect on a query, p-value of a t-test and q-value.
        accuracy: Slices with number of queries, accuracy and mean loss.
        balance: Labels with their shares of all rows, of the most harmful and most helpful ones.
        is_complete: Whether all effects are summed, not only the kept ones.
        harm_shares: Labels and sources that harm a slice more than their share of the rows.
        losses: Slices with number of queries and mean loss, the largest first.
    """

    slice_name: str
    source_name: str
    matrix: pl.DataFrame
    correlations: pl.DataFrame
    ranking: list[Row]
    accuracy: list[Row]
    balance: list[Row]
    is_complete: bool
    harm_shares: list[HarmShare]
    losses: list[Row]


def summarize_slices(data: RunData) -> SourceSliceEffects:
    """Sum the effects of a run by source and slice: the kept ones, or all if totals were kept."""
    is_complete = len(data.totals) > 0 and data.slice_column.startswith("group_")
    sums = _sum_effects(data, is_complete)
    by_source = sums.join(data.train.select("train", source=data.source_column), on="train")
    matrix = by_source.group_by("source", "slice", maintain_order=True).agg(
        pl.col("effect").sum(), pairs=pl.col("pairs").sum()
    )
    return SourceSliceEffects(
        data.slice_column.removeprefix("group_"),
        data.source_column.removeprefix("group_"),
        _select_largest(data, matrix),
        _correlate_slices(sums, _list_frequent_values(data.queries, data.slice_column)),
        _rank_sources(data),
        _compute_accuracy(data),
        _compute_label_balance(data),
        is_complete,
        list_harm_shares(data),
        _compute_losses(data),
    )


def _sum_effects(data: RunData, is_complete: bool) -> pl.DataFrame:
    """Columns train, slice, effect, pairs."""
    if is_complete:
        totals = data.totals.with_columns(slice="group")
        return totals.group_by("train", "slice", maintain_order=True).agg(
            effect=pl.col("removal_effect").sum(), pairs=pl.col("queries").sum()
        )
    query_slices = data.queries.select("query", slice=data.slice_column)
    effect = pl.col("removal_effect").cast(pl.Float64)
    return (
        data.scores.join(query_slices, on="query")
        .group_by("train", "slice", maintain_order=True)
        .agg(effect=effect.sum(), pairs=pl.len())
    )


def _list_frequent_values(frame: pl.DataFrame, column: str) -> list[str | None]:
    """Most frequent values of a column; None stands for the rows without a value."""
    counts = frame.group_by(value=pl.col(column)).len().sort(-pl.col("len").cast(int), "value")
    return counts["value"].head(MAX_VALUES).to_list()


def _select_largest(data: RunData, matrix: pl.DataFrame) -> pl.DataFrame:
    slices, sources = (
        _list_frequent_values(data.queries, data.slice_column),
        _list_frequent_values(data.train, data.source_column),
    )
    return matrix.filter(_is_among("slice", slices), _is_among("source", sources)).sort(
        "source", "slice"
    )


def _is_among(column: str, values: Sequence[str | None]) -> pl.Expr:
    return pl.col(column).is_in(pl.Series(values, dtype=pl.String).implode(), nulls_equal=True)


def _correlate_slices(sums: pl.DataFrame, slices: Sequence[str | None]) -> pl.DataFrame:
    """Pearson correlation over the training rows with an effect on either slice."""
    selected = sums.filter(_is_among("slice", slices))
    names = selected["slice"].unique().sort().to_list()
    # Columns are numbered, since a slice can be named `train`.
    numbers = pl.DataFrame(
        {"slice": names, "number": range(len(names))}, {"slice": pl.String, "number": pl.Int64}
    )
    wide = selected.join(numbers, on="slice", nulls_equal=True).pivot(
        "number", index="train", values="effect", sort_columns=True
    )
    values = wide.drop("train").fill_null(0.0).to_numpy()
    with np.errstate(invalid="ignore"):
        coefficients = np.atleast_2d(np.corrcoef(values, rowvar=False)) if len(wide) > 2 else None
    if coefficients is None:
        return pl.DataFrame(schema={"a": pl.String, "b": pl.String, "correlation": pl.Float64})
    pairs = [
        (a, b, float(coefficients[i, j])) for i, a in enumerate(names) for j, b in enumerate(names)
    ]
    kinds = {"a": pl.String, "b": pl.String, "correlation": pl.Float64}
    frame = pl.DataFrame(pairs, kinds, orient="row")
    return frame.with_columns(pl.col("correlation").fill_nan(None))


def _rank_sources(data: RunData) -> list[Row]:
    """Rank sources by their mean summed effect on a query, with a t-test over queries.

    Since many sources are tested, the false discovery rate is controlled (Benjamini and Hochberg,
    1995).
    """
    sources = _list_frequent_values(data.train, data.source_column)
    train_sources = data.train.select("train", source=data.source_column)
    effect = pl.col("removal_effect").cast(pl.Float64)
    sums = (
        data.scores.join(train_sources, on="train")
        .group_by("query", "source", maintain_order=True)
        .agg(effect=effect.sum())
    )
    query_count = data.scores["query"].n_unique()
    ranking: list[Row] = []
    for source in sources:
        source_effects = sums.filter(pl.col("source").eq_missing(pl.lit(source)))[
            "effect"
        ].to_numpy()
        effects = np.concatenate(
            [source_effects, np.zeros(query_count - len(source_effects))]
        )  # no row among candidates
        is_tested = query_count >= MIN_QUERIES and float(effects.std()) > 0
        test = ttest_1samp(effects, 0.0) if is_tested else None
        p = float(test.pvalue) if test else 1.0  # type: ignore[attr-defined]
        rows = train_sources.filter(pl.col("source").eq_missing(pl.lit(source))).height
        ranking.append(
            {"source": source, "rows": rows, "sum": float(effects.sum()), "p": p,
             "mean": float(effects.mean()) if query_count else 0.0,
             "harmed": float((effects < 0).mean()) if query_count else 0.0}
        )  # fmt: skip
    if ranking:
        adjusted = false_discovery_control([row["p"] for row in ranking])
        ranking = [row | {"q": float(q)} for row, q in zip(ranking, adjusted, strict=True)]
    return sorted(ranking, key=lambda row: float(str(row["mean"])))


def _compute_accuracy(data: RunData) -> list[Row]:
    return rank_slices(data.queries, data.slice_column).head(2 * MAX_VALUES).to_dicts()


def _compute_losses(data: RunData) -> list[Row]:
    """Mean loss by slice of the queries with labels, for those that are neither right nor wrong."""
    labelled = data.queries.drop_nulls("label").select("loss", slice=data.slice_column)
    means = labelled.group_by("slice", maintain_order=True).agg(
        queries=pl.len(), loss=pl.col("loss").mean()
    )
    return means.sort("loss", descending=True).head(2 * MAX_VALUES).to_dicts()


def _compute_label_balance(data: RunData) -> list[Row]:
    """Label shares among the 10 most harmful and helpful rows of each wrongly predicted query.

    All queries count if none of them has a label.
    """
    is_wrong = ~pl.col("correct") if data.queries["correct"].count() else pl.lit(True)
    wrong = data.queries.filter(is_wrong).select("query")
    scores = data.scores.join(wrong, on="query", how="semi").sort("query", "rank")
    labels = data.train.select("train", label=data.label_column)
    low = scores.group_by("query").head(10).filter(RANKING < 0)
    high = scores.group_by("query").tail(10).filter(RANKING > 0)
    extremes = {"harmful": low, "helpful": high}
    shares = {
        name: dict(
            extreme.join(labels, on="train")["label"].value_counts(normalize=True).iter_rows()
        )
        for name, extreme in extremes.items()
    }
    base = labels["label"].value_counts(normalize=True).sort("label")
    return [
        {"label": label, "all": share, **{n: s.get(label, 0.0) for n, s in shares.items()}}
        for label, share in base.iter_rows()
    ]
