"""Comparison of two runs: training rows that enter or leave the most harmful ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from storage.matching import EDITED, RELABELLED, SAME, Matching, match_rows
from storage.queries import sum_harm_by_train
from storage.ranking import RANKING, RANKING_SCORE, fill_ranking_score
from storage.store import Store

ENTERED_DOUBLED: Final = "entered, doubled"
"""Change of a row that entered the k most harmful and whose own harm at least doubled."""
LEFT_HALVED: Final = "left, halved"
"""Change of a row that left the k most harmful and whose own harm at least halved."""
ENTERED_ONLY: Final = "entered"
"""Change of any other row that entered the k most harmful, because others left them."""
LEFT_ONLY: Final = "left"
"""Change of any other row that left the k most harmful, because others entered them."""
ENTERED: Final = (ENTERED_DOUBLED, ENTERED_ONLY)
"""Changes of the rows that entered the k most harmful."""
LEFT: Final = (LEFT_HALVED, LEFT_ONLY)
"""Changes of the rows that left the k most harmful."""
MIN_HARM_RATIO: Final = 2.0
"""Minimum factor by which a row's own harm has to grow or fall for `ENTERED_DOUBLED` or
`LEFT_HALVED`; below it the change of rank is due to other rows."""


@dataclass(frozen=True)
class RunTables:
    """Tables of a run that are compared.

    Attributes:
        scores: Table `scores`.
        queries: Table `queries`.
        train: Table `train`.
    """

    scores: pl.LazyFrame
    queries: pl.LazyFrame
    train: pl.LazyFrame

    @classmethod
    def scan(cls, store: Store, run: str) -> Self:
        """Scan the committed tables of a run.

        Args:
            store: Store of the study.
            run: Name of the run.

        Raises:
            StoreError: The run does not exist, or a file is missing or changed.
        """
        return cls(*(store.scan(table, run) for table in ("scores", "queries", "train")))


@dataclass(frozen=True, eq=False)
class RunMatching:
    """Row matching of two runs, for both tables.

    Attributes:
        queries: Matching of the tables `queries`.
        train: Matching of the tables `train`.
    """

    queries: Matching
    train: Matching

    @classmethod
    def match(cls, before: RunTables, after: RunTables) -> Self:
        """Match the rows of both tables.

        Args:
            before: Tables of the earlier run.
            after: Tables of the later run.

        Raises:
            StoreError: Rows cannot be matched; see `match_rows`.
        """
        queries = match_rows(before.queries, after.queries, "query")
        return cls(queries, match_rows(before.train, after.train, "train"))

    @property
    def common_queries(self) -> pl.DataFrame:
        """Positions `before` and `after` of the queries with equal content and label.

        Queries with another text or label are not compared, since their loss is a different one.
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
    """Find training rows that are among the top-k by harm in one run and not in the other.

    Harm is summed over the queries that both runs have, as in `sum_harm_by_train`. A row that
    enters the top-k has `ENTERED_DOUBLED` if its harm is at least `MIN_HARM_RATIO` times the upper
    bound of its earlier harm, else `ENTERED_ONLY`. A row that leaves has `LEFT_HALVED` if the upper
    bound of its later harm is at most 1 / `MIN_HARM_RATIO` of its earlier harm, else `LEFT_ONLY`.
    The upper bound adds, for each query without a stored effect of the row, the least harm among
    that query's stored harmful half. In queries with ranking scores, it is the least of those,
    times the row's ratio of effect to ranking score; a row without any ranking score has no upper
    bound.

    Args:
        before: Tables of the earlier run.
        after: Tables of the later run.
        k: Number of rows that count in each run.
        matching: Row matching; computed if None.
        queries: Pairs of queries to compare, columns `before` and `after`; all common queries
            if None.
        sizes: Whether effects of the two runs have the same scale up to the factor 1/n. If
            False, harm is rescaled so that its sum over the common rows is equal.

    Returns:
        Changed rows in descending order of the difference of effects. Columns: `change`; `id`;
        `effect_before`, `effect_after` (nats, 0 for none); `new`, `gone` (the row is in only one
        training table); `relabelled`, `edited` (see `Matching`); then `label` and the group
        columns, from the later run if the row is in it.

    Raises:
        StoreError: Rows cannot be matched; see `match_rows`.
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
    """Number the rows of both training tables; columns row, before, after, how."""
    sides = []
    for tables, side in ((before, "before"), (after, "after")):
        rows = tables.train.select(pl.col("train").cast(pl.UInt32).alias(side)).collect()
        sides.append(rows.join(pairs, on=side, how="anti"))
    return pl.concat([pairs, *sides], how="diagonal").with_row_index("row")


def _sum_harm(
    tables: RunTables, queries: pl.Series, k: int, numbered: pl.DataFrame, side: str
) -> pl.DataFrame:
    """Return harm, effect, top-k membership and unknown harm of every row of one run.

    Effect is the harm with a negative sign. Unknown is the upper bound of the harm to queries for
    which the row has no stored effect.
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
    rows = numbered.lazy().filter(pl.col(side).is_not_null()).select("row", train=side)
    return (
        _bound_unknown_harm(rows, scores)
        .join(harm, on="train", how="left")
        .select(
            "row",
            pl.col("harm").fill_null(0.0),
            "unknown",
            effect=pl.col("harmful_effect").fill_null(0.0),
            top=(pl.col("place") < k).fill_null(False),
        )
        .collect()
    )


def _bound_unknown_harm(rows: pl.LazyFrame, scores: pl.LazyFrame) -> pl.LazyFrame:
    """Add the column `unknown`: upper bound of a row's harm to queries without its effect.

    What is not stored is above the query's bar, in the number that ranks. Bars of ranking scores
    become nats by the row's own ratio of effect to ranking score, which is the same in all queries.
    """
    ranking, scores = RANKING.cast(pl.Float64), fill_ranking_score(scores)
    least = ranking.sort().get((pl.len() - 1) // 2)
    is_scaled = pl.col(RANKING_SCORE).is_not_null()
    floors = scores.group_by("query").agg(
        bar=least.clip(upper_bound=0).abs(), is_scaled=is_scaled.any()
    )
    bars = {
        "nats": pl.col("bar").filter(~pl.col("is_scaled")).sum(),
        "scaled": pl.col("bar").filter("is_scaled").sum(),
    }
    most = floors.select(**bars).collect().row(0, named=True)
    effect = pl.col("removal_effect").cast(pl.Float64)
    known = (
        scores.join(floors, on="query")
        .group_by("train")
        .agg(**bars, ratio=(effect / ranking).filter(is_scaled, ranking != 0).mean())
    )
    nats, scaled = ((most[name] - pl.col(name).fill_null(0.0)).clip(0) for name in bars)
    in_nats = pl.when(scaled > 0).then(scaled * pl.col("ratio").fill_null(math.inf)).otherwise(0.0)
    return rows.join(known, on="train", how="left").with_columns(unknown=nats + in_nats)


def _compute_harm_ratio(rows: pl.DataFrame) -> float:
    """Return the ratio of the earlier to the later total harm of the common rows."""
    both = rows.drop_nulls(["harm", "harm_after"]).select("harm", "harm_after").sum().row(0)
    return both[0] / both[1] if both[0] and both[1] else 1.0


def _classify_change(scale: float) -> pl.Expr:
    """Classify rows that entered or left the top-k; later harm is multiplied by `scale`."""
    before, after = pl.col("harm"), scale * pl.col("harm_after")
    grown = after >= MIN_HARM_RATIO * (before + pl.col("unknown"))
    shrunk = MIN_HARM_RATIO * (after + scale * pl.col("unknown_after")) <= before
    entered = pl.when(grown).then(pl.lit(ENTERED_DOUBLED)).otherwise(pl.lit(ENTERED_ONLY))
    exited = pl.when(shrunk).then(pl.lit(LEFT_HALVED)).otherwise(pl.lit(LEFT_ONLY))
    return pl.when("top_after").then(entered).otherwise(exited)


def _join_train_columns(changed: pl.DataFrame, before: RunTables, after: RunTables) -> pl.DataFrame:
    """Add columns of the training tables, from the later run or, for removed rows, the earlier."""
    current, previous = (
        _read_train_columns(tables, side) for tables, side in ((after, "after"), (before, "before"))
    )
    names = list(dict.fromkeys([*current.columns, *previous.columns]))
    names = [name for name in names if name not in ("before", "after")]
    is_present = pl.col("after").is_not_null()
    # Columns are renamed by index, since group columns may be named `x` and `x_before`.
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
    """Read the position (as column `side`), id, label and group columns."""
    groups = [c for c in tables.train.collect_schema().names() if c.startswith("group_")]
    position = pl.col("train").cast(pl.UInt32).alias(side)
    return tables.train.select(position, "id", "label", *groups).collect()
