"""Two runs side by side: which training rows became harmful, and which stopped being so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from storage.matching import EDITED, RELABELLED, SAME, Matching, match_rows
from storage.queries import sum_harm_by_train
from storage.store import Store

BECAME_HARMFUL: Final = "became harmful"
STOPPED_HARMING: Final = "stopped"
MOVED_UP: Final = "moved up"
OVERTAKEN: Final = "overtaken"
MIN_HARM_RATIO: Final = 2.0
"""Times that a row's own harm has to grow or shrink by to have become harmful or stopped: a row
that enters or leaves the worst for less than that does so since others moved."""


@dataclass(frozen=True)
class RunTables:
    """What is compared of a run."""

    scores: pl.LazyFrame
    queries: pl.LazyFrame
    train: pl.LazyFrame

    @classmethod
    def scan(cls, store: Store, run: str) -> Self:
        """The committed tables of a run."""
        return cls(*(store.scan(table, run) for table in ("scores", "queries", "train")))


@dataclass(frozen=True, eq=False)
class RunMatching:
    """Which rows of two runs are the same, of both tables."""

    queries: Matching
    train: Matching

    @classmethod
    def match(cls, before: RunTables, after: RunTables) -> Self:
        """Match both tables.

        Raises:
            StoreError: as `match_rows`.
        """
        queries = match_rows(before.queries, after.queries, "query")
        return cls(queries, match_rows(before.train, after.train, "train"))

    @property
    def common_queries(self) -> pl.DataFrame:
        """Positions before and after of the queries that are the same, label and all.

        A query of another text or label is another question: its effects are not compared.
        """
        return self.queries.pairs.filter(pl.col("how") == SAME).select("before", "after")


def find_changes(
    before: RunTables,
    after: RunTables,
    k: int,
    matching: RunMatching | None = None,
    queries: pl.DataFrame | None = None,
    sizes: bool = True,
) -> pl.DataFrame:
    """Training rows that are among the `k` that do most harm in one run and not in the other.

    Harm is the sum of a row's negative effects over the queries that both runs were asked, as in
    `sum_harm_by_train`. A row that enters `BECAME_HARMFUL` harmful if its own harm is at least
    `MIN_HARM_RATIO` times what it can have been, and one that leaves `STOPPED_HARMING` if it is at
    most that part of it; others `MOVED_UP` or `OVERTAKEN` since rows around them moved. An effect
    that was not kept does at most the harm of the least harmful of those kept at its query's
    harmful end. Columns: change; id; effect_before, effect_after (nats, 0 for none); new, gone (the
    row is in only one of the training tables); relabelled, edited (see `Matching`); and of the row
    as it is, or was, label and every group. The largest difference of effects comes first.

    Args:
        before: the earlier run.
        after: the later one.
        k: rows that count in each.
        matching: rows that are the same; found anew if left out.
        queries: pairs of queries, columns before and after; all that are the same if left out.
        sizes: whether effects are of one size, but for the 1/n in them; if not, the sums of harm
            of the rows of both runs are taken to be the same.

    Raises:
        StoreError: as `match_rows`.
    """
    matching = matching or RunMatching.match(before, after)
    pairs = matching.common_queries if queries is None else queries
    numbered = _number_rows(before, after, matching.train.pairs)
    sides = zip((before, after), ("before", "after"), strict=True)
    old, new = (_sum_harm(tables, pairs[side], k, numbered, side) for tables, side in sides)
    rows = old.join(new, on="row", how="full", coalesce=True, suffix="_after")
    scale = len(new) / max(1, len(old)) if sizes else _compute_harm_ratio(rows)
    rows = rows.with_columns(
        pl.col("top", "top_after").fill_null(False),
        pl.col("^(harm|effect|unknown)(_after)?$").fill_null(0.0),
    )
    changed = rows.filter(pl.col("top") != pl.col("top_after")).select(
        "row",
        change=_classify_change(scale),
        effect_before="effect",
        effect_after="effect_after",
    )
    gap = (pl.col("effect_after") - pl.col("effect_before")).abs()
    return _join_train_columns(changed.join(numbered, on="row"), before, after).sort(-gap, "id")


def _number_rows(before: RunTables, after: RunTables, pairs: pl.DataFrame) -> pl.DataFrame:
    """A number for every row of either training table: columns row, before, after, how."""
    sides = []
    for tables, side in ((before, "before"), (after, "after")):
        rows = tables.train.select(pl.col("train").cast(pl.UInt32).alias(side)).collect()
        sides.append(rows.join(pairs, on=side, how="anti"))
    return pl.concat([pairs, *sides], how="diagonal").with_row_index("row")


def _sum_harm(
    tables: RunTables, queries: pl.Series, k: int, numbered: pl.DataFrame, side: str
) -> pl.DataFrame:
    """Of every row of a side: its number, harm, effect, whether among the `k` worst, and unknown.

    Harm is the sum, and effect the same with the sign of effects. Unknown is the most harm that it
    can do to queries of which its effect was not kept.
    """
    chosen = pl.col("query").cast(pl.UInt32).is_in(queries.implode())
    scores = tables.scores.filter(chosen).with_columns(pl.col("train").cast(pl.UInt32))
    harm = (
        sum_harm_by_train(scores)
        .filter(pl.col("harmful_queries") > 0)
        .sort("harm", "train", descending=[True, False])
        .with_row_index("place")
        .select("train", "place", "harm", "harmful_effect")
    )
    least = pl.col("removal_effect").cast(pl.Float64).sort().get((pl.len() - 1) // 2)
    floors = scores.group_by("query").agg(bar=least.clip(upper_bound=0).abs())
    known = scores.join(floors, on="query").group_by("train").agg(known=pl.col("bar").sum())
    most = float(floors.select(pl.col("bar").sum()).collect().item() or 0)
    rows = numbered.lazy().filter(pl.col(side).is_not_null()).select("row", train=side)
    return (
        rows.join(harm, on="train", how="left")
        .join(known, on="train", how="left")
        .select(
            "row",
            pl.col("harm").fill_null(0.0),
            effect=pl.col("harmful_effect").fill_null(0.0),
            top=(pl.col("place") < k).fill_null(False),
            unknown=(most - pl.col("known").fill_null(0.0)).clip(0),
        )
        .collect()
    )


def _compute_harm_ratio(rows: pl.DataFrame) -> float:
    """How many times the harm of the rows of both runs was as large before."""
    both = rows.drop_nulls(["harm", "harm_after"]).select("harm", "harm_after").sum().row(0)
    return both[0] / both[1] if both[0] and both[1] else 1.0


def _classify_change(scale: float) -> pl.Expr:
    """The word for a row that entered or left, whose harm after is to be multiplied by `scale`."""
    before, after = pl.col("harm"), scale * pl.col("harm_after")
    grown = after >= MIN_HARM_RATIO * (before + pl.col("unknown"))
    shrunk = MIN_HARM_RATIO * (after + scale * pl.col("unknown_after")) <= before
    entered = pl.when(grown).then(pl.lit(BECAME_HARMFUL)).otherwise(pl.lit(MOVED_UP))
    exited = pl.when(shrunk).then(pl.lit(STOPPED_HARMING)).otherwise(pl.lit(OVERTAKEN))
    return pl.when("top_after").then(entered).otherwise(exited)


def _join_train_columns(changed: pl.DataFrame, before: RunTables, after: RunTables) -> pl.DataFrame:
    """With what the training tables hold of these rows, as they are or, if gone, as they were."""
    current, previous = (
        _read_train_columns(tables, side) for tables, side in ((after, "after"), (before, "before"))
    )
    names = list(dict.fromkeys([*current.columns, *previous.columns]))
    names = [name for name in names if name not in ("before", "after")]
    is_present = pl.col("after").is_not_null()
    # By place and not by name: a study's groups may be called `x` and `x_before`.
    numbered = [
        frame.rename({name: f"{prefix}{names.index(name)}" for name in frame.columns[1:]})
        for frame, prefix in ((current, "now "), (previous, "then "))
    ]
    rows = changed.join(numbered[0], on="after", how="left").join(
        numbered[1], on="before", how="left"
    )

    def value(i: int) -> pl.Expr:
        sides = (
            pl.col(f"{prefix}{i}") for prefix in ("now ", "then ") if f"{prefix}{i}" in rows.columns
        )
        first, *others = sides
        return pl.when(is_present).then(first).otherwise(others[0]) if others else first

    values = {name: value(i).alias(name) for i, name in enumerate(names)}
    return rows.select(
        "change",
        values.pop("id"),
        *("effect_before", "effect_after"),
        pl.col("before").is_null().alias("new"),
        pl.col("after").is_null().alias("gone"),
        *((pl.col("how") == how).fill_null(False).alias(how) for how in (RELABELLED, EDITED)),
        *values.values(),
    )


def _read_train_columns(tables: RunTables, side: str) -> pl.DataFrame:
    """Columns `side` (position), id, label and every group."""
    groups = [c for c in tables.train.collect_schema().names() if c.startswith("group_")]
    position = pl.col("train").cast(pl.UInt32).alias(side)
    return tables.train.select(position, "id", "label", *groups).collect()
