"""Losses of the queries of a slice in two runs, paired query by query."""

import math
from dataclasses import dataclass

import polars as pl

from fastif import InputError
from storage import Store
from storage.example_schemas import fill_measure
from storage.run_comparison import RunMatching, RunTables
from tasks.bisection.change_groups import PREFIX
from tasks.results.slice_accuracy import MIN_SLICE_SIZE, find_group_column
from tasks.study.errors import join_some, suggest

CONFIDENCE = 0.95
MAX_SHOWN = 10


@dataclass(frozen=True, eq=False)
class SliceLosses:
    """Losses of the queries that both runs have, in nats.

    Attributes:
        value: Value of the first group column of the queries; None for all queries.
        common: Queries of all slices with a loss and scores in both runs, ordered by `after`.
            Columns: `before` and `after` (positions of the query in both runs), `loss` and
            `loss_after`, `chosen` (the query is in the slice), and `stratum`: the slice, or the
            label where there are no two slices of `MIN_SLICE_SIZE` queries.
        dropped: Number of common queries of the slice without a finite loss, or without scores, in
            one of the runs; they are not in `common`.
        unmatched: Number of queries of the slice in the later run that the earlier one lacks.
    """

    value: str | None
    common: pl.DataFrame
    dropped: int
    unmatched: int

    @property
    def queries(self) -> pl.DataFrame:
        """Queries of the slice."""
        return self.common.filter("chosen")

    @property
    def before(self) -> float:
        """Mean loss in the earlier run, in nats."""
        return _mean(self.queries["loss"])

    @property
    def after(self) -> float:
        """Mean loss in the later run, in nats."""
        return _mean(self.queries["loss_after"])

    @property
    def change(self) -> float:
        """Mean of the change of the loss, in nats; positive where the later run is worse."""
        return self.after - self.before

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval of the change over queries; infinite for one query.

        It is Student's t interval of the paired differences, for other queries of the same kind
        and the same two models: a retraining with another seed is not part of it.
        """
        return half_width(self.queries["loss_after"] - self.queries["loss"])

    @property
    def direction(self) -> int:
        """Sign of the change; 0 where its interval over queries contains 0."""
        if abs(self.change) <= self.half_width:
            return 0
        return 1 if self.change > 0 else -1


def half_width(differences: pl.Series) -> float:
    """Return t s / √q of q differences: half of Student's 95 % interval of their mean."""
    from scipy.special import stdtrit  # slow, and not needed for a refusal

    count = len(differences)
    if count < 2:
        return math.inf
    deviation = float(differences.cast(pl.Float64).std())  # type: ignore[arg-type]
    return float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * deviation / math.sqrt(count)


def read_slice_losses(
    store: Store, runs: tuple[str, str], matched: RunMatching, value: str | None
) -> SliceLosses:
    """Read the losses of a slice in an earlier and a later run.

    Args:
        store: Store of the study.
        runs: Names of the earlier and the later run.
        matched: Matching of their queries: a query is common if text and label are equal.
        value: Value of the first group column of the queries in the later run; all queries if None.

    Raises:
        InputError: The runs have no query in common, or none of this slice.
    """
    old, new = (_read_queries(store, run) for run in runs)
    if matched.common_queries.is_empty():
        raise InputError(
            f"runs {runs[0]} and {runs[1]}",
            "queries with equal texts and labels in both",
            "no query in common",
            "Losses on other queries cannot be compared: audit both models with one query table.",
        )
    is_chosen = pl.lit(True) if value is None else (pl.col("group") == value).fill_null(False)
    new = new.with_columns(chosen=is_chosen)
    if value is not None:
        _check_slice(store, runs[1], value, new.filter("chosen"))
    joined = matched.common_queries.join(
        old.select(before="query", loss="loss", has_scores="has_scores"), on="before"
    ).join(new.rename({"query": "after", "loss": "loss_after"}), on="after", suffix="_after")
    count = int(joined["chosen"].sum())
    if not count:
        got = f"none of its {int(new['chosen'].sum())} queries is in run {runs[0]}"
        remedy = "Choose another slice, or audit both models with one query table."
        raise InputError(f"--slice {value}", "queries that both runs have", got, remedy)
    known = joined.filter("has_scores", "has_scores_after").drop_nulls(["loss", "loss_after"])
    kept = int(known["chosen"].sum())
    if not kept:
        got = "none: they are quarantined, or have no label, or their measure is not the loss"
        remedy = "Audit queries with labels by their loss; `fastif report` lists quarantined ones."
        raise InputError("queries of both runs", "a finite loss and scores", got, remedy)
    columns = ["before", "after", "loss", "loss_after", "chosen"]
    common = known.sort("after").select(*columns, stratum=_select_stratum(known))
    return SliceLosses(value, common, count - kept, int(new["chosen"].sum()) - count)


def _select_stratum(known: pl.DataFrame) -> pl.Expr:
    """Return the slice as stratum where there are two of enough queries, else the label."""
    sizes = known.drop_nulls("group")["group"].value_counts()["count"]
    has_slices = int((sizes >= MIN_SLICE_SIZE).sum()) > 1
    return pl.col("group") if has_slices else pl.col("label")


def _read_queries(store: Store, run: str) -> pl.DataFrame:
    queries = fill_measure(store.scan("queries", run))
    column = find_group_column(queries.collect_schema().names())
    group = pl.col(column) if column else pl.lit(None, pl.String)
    position = pl.col("query").cast(pl.UInt32)
    # effects on another measure cannot account for a change of the loss
    loss = pl.when(pl.col("measure") == "loss").then(pl.col("loss").cast(pl.Float64))
    rows = queries.select(position, "label", loss=loss, group=group).collect()
    solves = store.scan("solves", run).select(position, has_scores=pl.col("reason").is_null())
    return rows.join(solves.collect(), on="query", how="left").with_columns(
        pl.col("has_scores").fill_null(False)
    )


def _check_slice(store: Store, run: str, value: str, rows: pl.DataFrame) -> None:
    """Refuse a slice without queries; the error lists those that exist."""
    if not rows.is_empty():
        return
    queries = store.scan("queries", run)
    column = find_group_column(queries.collect_schema().names())
    if column is None:
        remedy = "Omit it, or add the column to [queries] groups and audit both models again."
        raise InputError("--slice", "a group column of the queries", "none", remedy)
    names = queries.select(pl.col(column).drop_nulls().unique().sort()).collect()[column].to_list()
    name = column.removeprefix(PREFIX)
    hint = suggest(value, names)
    remedy = f"{hint[:1].upper()}{hint[1:]}" if hint else "Use one of these values."
    raise InputError("--slice", f"a {name}: {join_some(names, MAX_SHOWN)}", value, remedy)


def _mean(values: pl.Series) -> float:
    return float(values.mean())  # type: ignore[arg-type]


def scan_tables(store: Store, runs: tuple[str, str]) -> tuple[RunTables, RunTables]:
    """Return the tables of both runs."""
    return RunTables.scan(store, runs[0]), RunTables.scan(store, runs[1])
