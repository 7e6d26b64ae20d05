"""Two runs side by side: which training rows became harmful, and which stopped being so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from storage.queries import harmful_rows
from storage.store import Store

BECAME: Final = "became harmful"
STOPPED: Final = "stopped"
ALL: Final = 2**32 - 1
"""Rows: as many as a table can have."""


@dataclass(frozen=True)
class Tables:
    """What is compared of a run; ids name rows, since positions change from table to table."""

    scores: pl.LazyFrame
    queries: pl.LazyFrame
    train: pl.LazyFrame

    @classmethod
    def of(cls, store: Store, run: str) -> Self:
        """The committed tables of a run."""
        return cls(*(store.scan(table, run) for table in ("scores", "queries", "train")))

    def asked(self, ids: pl.LazyFrame) -> pl.LazyFrame:
        """The scores of the queries with these ids."""
        chosen = self.queries.join(ids, on="id", how="semi").select("query")
        return self.scores.join(chosen, on="query", how="semi", maintain_order="left")

    def slice(self, column: str, value: str | None) -> Self:
        """The same with only the queries of a group."""
        chosen = self.queries.filter(pl.col(column).eq_missing(pl.lit(value)))
        return type(self)(self.scores, chosen, self.train)


def changes(before: Tables, after: Tables, k: int) -> pl.DataFrame:
    """Training rows that are among the `k` that do most harm in one run and not in the other.

    Harm is the sum of a row's negative effects over the queries that both runs were asked, as in
    `harmful_rows`. Columns: change; id; effect_before, effect_after (nats, 0 for none); new, gone
    (the row is in only one of the training tables); relabelled; and of the row as it is, or was,
    label and every group. The largest difference of effects comes first.
    """
    both = before.queries.select("id").join(after.queries.select("id"), on="id", how="semi")
    old, new = (_harm(tables, both, k) for tables in (before, after))
    rows = old.join(new, on="id", how="full", coalesce=True, suffix="_after").with_columns(
        pl.col("top", "top_after").fill_null(False)
    )
    told = rows.filter(pl.col("top") != pl.col("top_after")).select(
        pl.when("top_after").then(pl.lit(BECAME)).otherwise(pl.lit(STOPPED)).alias("change"),
        "id",
        pl.col("effect").fill_null(0.0).alias("effect_before"),
        pl.col("effect_after").fill_null(0.0),
    )
    gap = (pl.col("effect_after") - pl.col("effect_before")).abs()
    return _about(told, before, after).sort(-gap, "id").collect()


def _harm(tables: Tables, asked: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """Of every row that does harm: its id, the sum, and whether it is among the `k` worst."""
    rows = harmful_rows(tables.asked(asked), ALL).with_row_index("place")
    named = rows.join(tables.train.select("train", "id"), on="train", how="left")
    return named.select("id", effect=pl.col("harmful_effect"), top=pl.col("place") < k)


def _about(told: pl.LazyFrame, before: Tables, after: Tables) -> pl.LazyFrame:
    """With what the training tables say of these rows."""
    groups = [c for c in after.train.collect_schema().names() if c.startswith("group_")]
    known = [c for c in before.train.collect_schema().names() if c in groups]
    now = after.train.select("id", "label", *groups, there=pl.lit(True))
    then = before.train.select("id", "label", *known, there=pl.lit(True))
    rows = told.join(now, on="id", how="left").join(then, on="id", how="left", suffix="_before")
    missing = (pl.col(name).is_null() for name in ("there_before", "there"))
    new, gone = missing
    filled = (
        pl.coalesce(name, f"{name}_before") if name in known or name == "label" else pl.col(name)
        for name in ("label", *groups)
    )
    return rows.select(
        *("change", "id", "effect_before", "effect_after"),
        new.alias("new"),
        gone.alias("gone"),
        (pl.col("label") != pl.col("label_before")).fill_null(False).alias("relabelled"),
        *filled,
    )
