"""Predictions that differ between two runs, with the training rows that support each of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage.example_schemas import fill_measure
from storage.ranking import RANKING, fill_ranking_score
from storage.run_comparison import RunMatching, RunTables

MAX_PREDICTIONS, MAX_SUPPORT = 20, 3
"""Largest numbers of changed predictions, and of supporting rows of each prediction."""
SIDES = ("before", "after")


@dataclass(frozen=True)
class SupportingRow:
    """Training row that supports a prediction.

    Attributes:
        id: Id of the row.
        label: Label of the row.
        effect: Removal effect of the row on the query in the same run, in the unit of the measure.
    """

    id: str
    label: str
    effect: float


@dataclass(frozen=True)
class ChangedPrediction:
    """Query whose predicted label differs between two runs.

    Attributes:
        id: Id in the later run.
        label: Given label; None without one.
        before: Prediction of the earlier run.
        after: Prediction of the later run.
        support_before: Rows that support the earlier prediction most in the earlier run.
        support_after: Rows that support the later prediction most in the later run.
    """

    id: str
    label: str | None
    before: str
    after: str
    support_before: tuple[SupportingRow, ...]
    support_after: tuple[SupportingRow, ...]


@dataclass(frozen=True)
class PredictionChanges:
    """Predictions that differ between two runs, of the queries that are in both.

    Attributes:
        predictions: Changed predictions in the order of the queries; at most `MAX_PREDICTIONS`.
        count: Number of all of them.
        common: Number of queries in both runs.
    """

    predictions: tuple[ChangedPrediction, ...]
    count: int
    common: int


def find_prediction_changes(
    before: RunTables, after: RunTables, matched: RunMatching
) -> PredictionChanges:
    """List changed predictions, and for each the rows that support it in its own run.

    Effects of one run are never compared with those of the other, so the two models may differ in
    anything. A row supports a prediction if it is helpful and the prediction is the target of the
    measure, or harmful to the loss at another label.

    Args:
        before: Tables of the earlier run.
        after: Tables of the later run.
        matched: Matching of the rows of both runs.
    """
    columns = ("id", "label", "prediction", "correct", "measure")
    position = pl.col("query").cast(pl.UInt32)
    old, new = (
        fill_measure(tables.queries).select(*columns, position.alias(side)).collect()
        for tables, side in zip((before, after), SIDES, strict=True)
    )
    joined = matched.common_queries.join(old, on="before").join(new, on="after", suffix="_after")
    changed = joined.filter(pl.col("prediction") != pl.col("prediction_after")).sort("after")
    shown = changed.head(MAX_PREDICTIONS)
    support = [
        _read_support(before, shown.select("before", "correct", "measure"), "before"),
        _read_support(
            after,
            shown.select("after", correct="correct_after", measure="measure_after"),
            "after",
        ),
    ]
    predictions = tuple(
        ChangedPrediction(
            row["id_after"], row["label_after"], row["prediction"], row["prediction_after"],
            support[0].get(row["before"], ()), support[1].get(row["after"], ()),
        )
        for row in shown.iter_rows(named=True)
    )  # fmt: skip
    return PredictionChanges(predictions, len(changed), len(joined))


def _read_support(
    tables: RunTables, queries: pl.DataFrame, side: str
) -> dict[int, tuple[SupportingRow, ...]]:
    """Return the rows that support the prediction of each query most, by its position."""
    direction = (
        pl.when(pl.col("measure").is_in(["log-probability", "margin"]))
        .then(1)
        .when(pl.col("measure") == "loss")
        .then(pl.when(pl.col("correct")).then(1).otherwise(-1))
    )
    places = queries.select(pl.col(side).alias("query"), direction=direction).drop_nulls()
    scores = fill_ranking_score(tables.scores).select(
        pl.col("query").cast(pl.UInt32), "train", "removal_effect", ranking=RANKING
    )
    signed = scores.join(places.lazy(), on="query").with_columns(
        support=pl.col("ranking") * pl.col("direction")
    )
    strongest = (
        signed.filter(pl.col("support") > 0)
        .sort("query", "support", "train", descending=[False, True, False])
        .group_by("query", maintain_order=True)
        .head(MAX_SUPPORT)
    )
    rows = strongest.join(tables.train.select("train", "id", "label"), on="train")
    rows = rows.sort("query", "support", "train", descending=[False, True, False]).collect()
    return {
        int(query): tuple(
            SupportingRow(row["id"], row["label"], row["removal_effect"])
            for row in part.iter_rows(named=True)
        )
        for (query,), part in rows.group_by("query", maintain_order=True)  # type: ignore[misc]
    }


def describe_predictions(changes: PredictionChanges) -> Iterator[str]:
    """Yield a sentence on the number of changed predictions, then two lines for each of them.

    Examples:
        >>> row = SupportingRow("t1", "pos", 0.25)
        >>> changed = ChangedPrediction("q", None, "neg", "pos", (), (row,))
        >>> for line in describe_predictions(PredictionChanges((changed,), 1, 8)):
        ...     print(line)
        predictions that changed: 1 of 8
        q: neg → pos, no label
            neg was supported by no stored row
            pos is supported by t1 pos (+0.2500)
    """
    shown = f", the first {MAX_PREDICTIONS}" if changes.count > MAX_PREDICTIONS else ""
    yield f"predictions that changed: {changes.count:,} of {changes.common:,}{shown}"
    for each in changes.predictions:
        label = "no label" if each.label is None else f"true {each.label}"
        yield f"{each.id}: {each.before} → {each.after}, {label}"
        yield f"    {each.before} was supported by {describe_support(each.support_before)}"
        yield f"    {each.after} is supported by {describe_support(each.support_after)}"


def describe_support(rows: tuple[SupportingRow, ...]) -> str:
    """Describe the rows that support a prediction, with their effects in the same run.

    Examples:
        >>> describe_support((SupportingRow("t1", "pos", 0.25),))
        't1 pos (+0.2500)'
    """
    return ", ".join(f"{row.id} {row.label} ({row.effect:+.4f})" for row in rows) or "no stored row"
