"""One finished run as the report needs it, read from the store once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from storage import Store, StoreError
from tasks.mislabels.results import KIND, Found, read_found
from tasks.results.compare_runs import Difference, difference, previous
from tasks.results.summary import Summary, read_summary
from tasks.run.lookup import undamaged_run
from tasks.run.sequence import order_of


@dataclass(frozen=True, eq=False)
class Night:
    """A run, and what else the store knows of its rows.

    Attributes:
        run: its name.
        summary: what a terminal shows of it.
        queries: one row a query.
        train: one row a training example.
        scores: removal effects that were kept.
        totals: sums of all of them, which a full scan keeps; empty without.
        searches: for wrong labels among the same training rows, newest first.
        against: an earlier run, if one can be compared.
        difference: from that one to this.
    """

    run: str
    summary: Summary
    queries: pl.DataFrame
    train: pl.DataFrame
    scores: pl.DataFrame
    totals: pl.DataFrame
    searches: tuple[Found, ...]
    against: str | None
    difference: Difference | None

    @property
    def found(self) -> Found | None:
        """The newest search for wrong labels, if there was one."""
        return self.searches[0] if self.searches else None

    @cached_property
    def slice(self) -> str:
        """The column of the queries that they are sliced by: the study's first group, or label."""
        return _first_group(self.queries)

    @cached_property
    def source(self) -> str:
        """The column of the training rows that they are grouped by: likewise."""
        return _first_group(self.train)

    @property
    def has_pairs(self) -> bool:
        """Whether an example is two texts."""
        return self.train["text_pair"].null_count() < len(self.train)

    @cached_property
    def harm(self) -> pl.DataFrame:
        """Of each training row: train, effect (summed, nats), harm (negative part), harmed."""
        effect = pl.col("removal_effect").cast(pl.Float64)
        known = self.scores.group_by("train", maintain_order=True).agg(
            effect=effect.sum(),
            harm=effect.filter(effect < 0).sum(),
            harmed=(effect < 0).sum().cast(pl.Int64),
        )
        return (
            self.train.select("train")
            .join(known, on="train", how="left", maintain_order="left")
            .with_columns(pl.col("effect", "harm", "harmed").fill_null(0))
        )


def read_night(store: Store, run: str, study: Path, against: str | None = None) -> Night:
    """Everything of a run that a report needs.

    Args:
        store: that holds it.
        run: finished.
        study: its file, for the commands that the page tells.
        against: the run to compare with; the newest earlier one that can be, if left out.

    Raises:
        StoreError: no such run, it is not finished, or a search for wrong labels is damaged.
    """
    status = store.status(undamaged_run(store, run))
    if not status.finished:
        raise StoreError.at(
            f"run {run}",
            expected="a finished run",
            got=f"{status.done} of {status.planned} shards",
            remedy="Run `fastif audit` again; it computes what is missing.",
        )
    tables = {name: store.scan(name, run).collect() for name in ("queries", "train", "scores")}
    tables["totals"] = store.scan("totals", run).collect()
    before = against or previous(store, run)
    told = difference(store, before, run) if before else None
    searches = _searches(store, tables["train"])
    return Night(
        run, read_summary(store, run, study), **tables, searches=searches, against=before,
        difference=told,
    )  # fmt: skip


def _searches(store: Store, train: pl.DataFrame) -> tuple[Found, ...]:
    """Searches whose rows are those of the run, label by label.

    Raises:
        StoreError: one of them is damaged, which must not pass for "nobody searched".
    """
    same = ("id", "text", "label")
    found = (read_found(store, digest) for digest in store.sound_parts(KIND))
    fitting = [
        one
        for one in found
        if len(one.table) == len(train) and one.table.select(same).equals(train.select(same))
    ]
    return tuple(sorted(fitting, key=lambda one: order_of(one.facts), reverse=True))


def _first_group(rows: pl.DataFrame) -> str:
    groups = [name for name in rows.columns if name.startswith("group_")]
    return groups[0] if groups else "label"
