"""Queries whose prediction became wrong or right between two runs, with changed training rows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage.example_schemas import fill_measure
from storage.matching import RELABELLED, SAME
from storage.run_comparison import RunMatching, RunTables
from tasks.results.comparability import Level

MAX_QUERIES, MAX_ROWS = 20, 5
"""Largest numbers of broken and of repaired queries, and of training rows of each."""
NEW, REMOVED = "new", "removed"
OTHER_MEASURE = "Some queries have no changed rows, which need effects on the loss in both runs."
_ROW_SCHEMA = {
    "before": pl.UInt32, "after": pl.UInt32, "state": pl.String, "id": pl.String,
    "label": pl.String, "label_before": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class ChangedRow:
    """Training row that is new, removed, relabelled or edited, with its effect on a query.

    Attributes:
        id: Id in the later run, or in the earlier one for a removed row.
        label: Label in the later run, or in the earlier one for a removed row.
        label_before: Earlier label of a relabelled row; None otherwise.
        state: `new`, `removed`, `relabelled` or `edited`.
        effect_before: Removal effect in the earlier run, in nats; None if it is not stored, or
            cannot be compared.
        effect_after: Removal effect in the later run, in nats; None if it is not stored.
        loss_change: Predicted change of the query's loss by the change of the row, in nats:
            effect_before - effect_after, where one that is None counts as 0.
    """

    id: str
    label: str
    label_before: str | None
    state: str
    effect_before: float | None
    effect_after: float | None
    loss_change: float


@dataclass(frozen=True)
class ChangedQuery:
    """Query that is predicted correctly in only one of two runs.

    Attributes:
        id: Id in the later run.
        label: Given label.
        group: Value of the first group column; None without one.
        before: Prediction of the earlier run; None if its outputs were not finite.
        after: Prediction of the later run.
        loss_before: Loss in the earlier run, in nats; None if not finite, or not comparable.
        loss_after: Loss in the later run, in nats.
        rows: Changed rows that push the loss in the direction of the change, the strongest first.
        unstored: Number of changed rows without a stored effect on this query.
    """

    id: str
    label: str
    group: str | None
    before: str | None
    after: str | None
    loss_before: float | None
    loss_after: float | None
    rows: tuple[ChangedRow, ...]
    unstored: int

    @property
    def loss_change(self) -> float | None:
        """Change of the loss, in nats; None if unknown."""
        if self.loss_before is None or self.loss_after is None:
            return None
        return self.loss_after - self.loss_before


@dataclass(frozen=True)
class QueryChanges:
    """Queries that were broken or repaired between two runs, of those that are in both.

    Attributes:
        broken: Queries that only the earlier run predicts correctly, the largest increase of the
            loss first; at most `MAX_QUERIES`.
        repaired: Queries that only the later run predicts correctly, the largest decrease first.
        broken_count: Number of all broken queries.
        repaired_count: Number of all repaired queries.
        changed_rows: Number of training rows that are new, removed, relabelled or edited.
        notes: Sentences on what cannot be compared.
    """

    broken: tuple[ChangedQuery, ...]
    repaired: tuple[ChangedQuery, ...]
    broken_count: int
    repaired_count: int
    changed_rows: int
    notes: tuple[str, ...]


def find_query_changes(
    before: RunTables,
    after: RunTables,
    matched: RunMatching,
    level: Level,
    has_equal_loss: bool = True,
) -> QueryChanges:
    """List broken and repaired queries, and for each the changed training rows behind it.

    A new row changes the loss of a query by minus its removal effect in the later run, a removed
    row by its removal effect in the earlier one, a relabelled or edited row by the difference.
    Effects of the earlier run are left out unless sizes of effects can be compared.

    Args:
        before: Tables of the earlier run.
        after: Tables of the later run.
        matched: Matching of the rows of both runs.
        level: Comparable quantity of the effects.
        has_equal_loss: Whether losses of the two runs have one definition.
    """
    queries = _join_queries(before, after, matched, has_equal_loss)
    rows, has_sizes = _list_changed_rows(before, after, matched), level == "numbers"
    lists = [
        queries.filter(pl.col("correct") & ~pl.col("correct_after")),
        queries.filter(~pl.col("correct") & pl.col("correct_after")),
    ]
    worst = [frame.head(MAX_QUERIES) for frame in lists]
    chosen = pl.concat(worst)
    # other measures are of the predicted label, which is not the same in both runs
    explained = chosen.filter((pl.col("measure") == "loss") & (pl.col("measure_after") == "loss"))
    effects = [_read_effects(after, explained, rows, "after")]
    if has_sizes:
        effects.append(_read_effects(before, explained, rows, "before"))
    known: dict[int, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for side, frame in zip(("after", "before"), effects, strict=False):
        for query, row, effect in frame.iter_rows():
            known[query][row][side] = effect
    broken, repaired = (
        tuple(
            _make_query(record, rows, known[record["after"]], sign, has_sizes)
            for record in part.to_dicts()
        )
        for part, sign in zip(worst, (1, -1), strict=True)
    )
    notes = tuple(_describe_limits(rows, chosen, has_sizes, has_equal_loss))
    if len(explained) < len(chosen):
        notes += (OTHER_MEASURE,)
    return QueryChanges(broken, repaired, len(lists[0]), len(lists[1]), len(rows), notes)


def _join_queries(
    before: RunTables, after: RunTables, matched: RunMatching, has_equal_loss: bool
) -> pl.DataFrame:
    """Common queries, the largest change of the loss first; by position where there is none."""
    names = after.queries.collect_schema().names()
    group = next((name for name in names if name.startswith("group_")), None)
    value = pl.col(group) if group else pl.lit(None, pl.String)
    position = pl.col("query").cast(pl.UInt32)
    columns = ("prediction", "correct", "loss", "measure")
    old = fill_measure(before.queries).select(*columns, before=position).collect()
    new = (
        fill_measure(after.queries)
        .select("id", "label", *columns, after=position, group=value)
        .collect()
    )
    joined = matched.common_queries.join(old, on="before").join(new, on="after", suffix="_after")
    change = (pl.col("loss_after") - pl.col("loss")).abs()
    return joined.with_columns(
        pl.when(pl.col(name).is_finite() & pl.lit(has_equal_loss))
        .then(pl.col(name).cast(pl.Float64))
        .alias(name)
        for name in ("loss", "loss_after")
    ).sort(-change, "after", nulls_last=True)


def _list_changed_rows(before: RunTables, after: RunTables, matched: RunMatching) -> pl.DataFrame:
    """Rows that are not the same in both training tables, numbered by `row`."""
    sides = []
    for tables, name in ((before, "before"), (after, "after")):
        position = pl.col("train").cast(pl.UInt32).alias(name)
        sides.append(tables.train.select(position, "id", "label").collect())
    old, new = sides
    pairs = matched.train.pairs
    changed = pairs.filter(pl.col("how") != SAME).rename({"how": "state"})
    changed = changed.join(new, on="after").join(
        old.select("before", label_before="label"), on="before"
    )
    is_relabelled = pl.col("state") == RELABELLED
    changed = changed.with_columns(pl.when(is_relabelled).then("label_before"))
    parts = [
        changed,
        new.join(pairs, on="after", how="anti").with_columns(state=pl.lit(NEW)),
        old.join(pairs, on="before", how="anti").with_columns(state=pl.lit(REMOVED)),
    ]
    empty = pl.DataFrame(schema=_ROW_SCHEMA)
    return pl.concat([empty, *parts], how="diagonal").with_row_index("row")


def _read_effects(
    tables: RunTables, queries: pl.DataFrame, rows: pl.DataFrame, side: str
) -> pl.DataFrame:
    """Stored effects of the changed rows on these queries: query (later position), row, effect."""
    wanted = rows.select("row", train=side).drop_nulls()
    places = queries.select(query=side, at="after")
    scores = tables.scores.select(
        pl.col("query").cast(pl.UInt32), pl.col("train").cast(pl.UInt32), effect="removal_effect"
    )
    return (
        scores.join(places.lazy(), on="query")
        .join(wanted.lazy(), on="train")
        .select("at", "row", pl.col("effect").cast(pl.Float64))
        .collect()
    )


def _make_query(
    record: dict[str, Any],
    rows: pl.DataFrame,
    known: Mapping[int, Mapping[str, float]],
    sign: int,
    has_sizes: bool,
) -> ChangedQuery:
    """Make a query with the changed rows that raise its loss (sign 1) or lower it (-1)."""
    sides = ("after", "before") if has_sizes else ("after",)
    needed = rows.filter(pl.any_horizontal(pl.col(sides).is_not_null()))
    behind, stored = [], 0
    for number, effects in known.items():
        row = rows.row(number, named=True)
        stored += all(side in effects for side in sides if row[side] is not None)
        change = effects.get("before", 0.0) - effects.get("after", 0.0)
        if sign * change > 0:
            behind.append(
                ChangedRow(
                    row["id"], row["label"], row["label_before"], row["state"],
                    effects.get("before"), effects.get("after"), change,
                )
            )  # fmt: skip
    strongest = sorted(behind, key=lambda row: -abs(row.loss_change))[:MAX_ROWS]
    return ChangedQuery(
        record["id"],
        record["label"],
        record["group"],
        record["prediction"],
        record["prediction_after"],
        record["loss"],
        record["loss_after"],
        tuple(strongest),
        len(needed) - stored,
    )


def _describe_limits(
    rows: pl.DataFrame, queries: pl.DataFrame, has_sizes: bool, has_equal_loss: bool
) -> Iterator[str]:
    if queries.is_empty():
        return
    if rows.is_empty():
        yield "No training row is new, removed, relabelled or edited, so none is behind a change."
    if not has_equal_loss:
        yield "Losses of the two runs have other definitions and are not compared."
    is_old = pl.col("before").is_not_null()
    if not has_sizes and not rows.filter(is_old).is_empty():
        yield (
            "Effects of the earlier run cannot be compared in size, so removed rows are left out, "
            "and relabelled and edited rows are ranked by their effect in the later run."
        )


def describe_rows(query: ChangedQuery, changed_rows: int) -> str:
    """Describe what is not listed of the changed rows behind a query; empty if nothing is.

    Args:
        query: Query that was broken or repaired.
        changed_rows: Number of all changed rows.
    """
    if not changed_rows:
        return ""
    head = "" if query.rows else "no stored effect of a changed row pushes in this direction; "
    if query.unstored:
        return f"{head}effects of {query.unstored:,} of {changed_rows:,} changed rows not stored"
    return head.removesuffix("; ")


def name_states(rows: Sequence[ChangedRow]) -> list[str]:
    """Return the state of each row in words, with both labels of a relabelled one.

    Examples:
        >>> name_states([ChangedRow("r", "pos", "neg", "relabelled", None, -0.1, 0.1)])
        ['relabelled, neg before']
    """
    return [
        f"{row.state}, {row.label_before} before" if row.label_before is not None else row.state
        for row in rows
    ]
