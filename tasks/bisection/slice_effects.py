"""Removal effects of training rows on the mean loss of a slice, from the store of a run."""

import polars as pl

from storage import Store
from tasks.results.slice_accuracy import find_group_column


def read_slice_effects(store: Store, run: str, queries: pl.Series) -> pl.DataFrame:
    """Read the effect of removing each training row on the mean loss of some queries.

    The table `totals` has the sum over all queries of a slice. Where exactly those are asked for,
    it is used and complete; else the effects that are stored query by query are summed, and a row
    may lack some. A missing effect is not 0: `stored` says how many there are.

    Args:
        store: Store of the study.
        run: Name of the run.
        queries: Positions of q queries, each with scores.

    Returns:
        One row for each training row with any stored effect. Columns: `train`; `effect`, the sum of
        the stored effects divided by q (nats); `stored`, the share of the q effects that is stored.
    """
    wanted = queries.cast(pl.UInt32).unique().sort()
    totals = _read_totals(store, run, wanted)
    return _sum_scores(store, run, wanted) if totals is None else totals


def _read_totals(store: Store, run: str, wanted: pl.Series) -> pl.DataFrame | None:
    """Return the effects by the table `totals`; None if it has no sum over exactly these."""
    totals = store.scan("totals", run)
    cells = _find_cells(store, run, wanted)
    if cells is None or totals.limit(1).collect().is_empty():
        return None
    effect = pl.col("removal_effect").sum() / len(wanted)
    keys = ["correct", "group"]
    summed = totals.join(cells.lazy(), on=keys, how="semi", nulls_equal=True).group_by("train")
    stored = pl.col("queries").cast(pl.Float64).sum() / len(wanted)
    return summed.agg(effect=effect, stored=stored).with_columns(_POSITION).sort("train").collect()


_POSITION = pl.col("train").cast(pl.UInt32)


def _find_cells(store: Store, run: str, wanted: pl.Series) -> pl.DataFrame | None:
    """Return the cells (`correct`, `group`) whose scored queries are exactly the wanted ones."""
    queries = store.scan("queries", run)
    column = find_group_column(queries.collect_schema().names())
    group = pl.col(column) if column else pl.lit(None, pl.String)
    position = pl.col("query").cast(pl.UInt32)
    scored = store.scan("solves", run).filter(pl.col("reason").is_null()).select(position)
    rows = queries.select(position, "correct", group=group).join(scored, on="query", how="semi")
    cells = (
        rows.with_columns(wanted=pl.col("query").is_in(wanted.implode()))
        .group_by("correct", "group")
        .agg(all=pl.col("wanted").all(), any=pl.col("wanted").any())
        .collect()
    )
    if (cells["any"] & ~cells["all"]).any():
        return None  # a cell has other queries too
    return cells.filter("all").select("correct", "group")


def _sum_scores(store: Store, run: str, wanted: pl.Series) -> pl.DataFrame:
    scores = store.scan("scores", run).filter(
        pl.col("query").cast(pl.UInt32).is_in(wanted.implode())
    )
    effect = pl.col("removal_effect").cast(pl.Float64)
    summed = scores.group_by("train").agg(
        effect=effect.sum() / len(wanted), stored=pl.len() / len(wanted)
    )
    return summed.with_columns(_POSITION).sort("train").collect()
