"""Injected incidents: two versions of a training table that differ in ordinary rows and one fault.

Each incident has ordinary changes, which `fastif bisect` must not confuse with the fault: three
batches of new rows with right labels, some rows removed, and some labels changed. The groups are
those of the column `batch`: a batch of the day for new rows, a desk for earlier ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:  # a run-time import would load torch for the page
    from benchmarks.bisect.embedded_rows import EmbeddedRows

RANDOM_LABELS, RELABELLED, LEAK = "random labels", "relabelled", "leak"
DUPLICATES, REMOVED_SLICE, SEED = "duplicates", "removed slice", "seed"
FAULTS = (RANDOM_LABELS, RELABELLED, LEAK, DUPLICATES, REMOVED_SLICE)
TRAIN, QUERIES, ORDINARY = 900, 400, 40
FAULTY = 80
"""Rows that are relabelled or leaked at most; a batch of random labels has three times as many."""


@dataclass(frozen=True, eq=False)
class Incident:
    """Training tables of two nights, with the queries, the slice that is bisected and the fault.

    Attributes:
        fault: Kind of the fault; `SEED` for none.
        before: Training table of the earlier night; columns id, text, label, batch.
        after: Training table of the later night.
        queries: Query table; columns id, text, label, desk.
        value: Slice that is bisected; None for all queries.
        culprit: Kind and source of the guilty group; None if only the seed differs.
        seeds: Training seeds of both nights.
    """

    fault: str
    before: pl.DataFrame
    after: pl.DataFrame
    queries: pl.DataFrame
    value: str | None
    culprit: tuple[str, str] | None
    seeds: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Parts:
    rows: "EmbeddedRows"
    before: pl.DataFrame
    after: pl.DataFrame
    queries: pl.DataFrame
    spare: pl.DataFrame
    seed: int


def make_incident(rows: "EmbeddedRows", fault: str, seed: int) -> Incident:
    """Sample the tables of an incident and inject its fault."""
    shuffled = rows.rows.sample(fraction=1, shuffle=True, seed=seed).with_columns(
        id="r-" + pl.col("text"), batch=pl.col("desk")
    )
    queries = shuffled.head(QUERIES).select("id", "text", "label", "desk")
    before = shuffled.slice(QUERIES, TRAIN)
    spare = shuffled.slice(QUERIES + TRAIN)
    ordinary = [
        spare.slice(i * ORDINARY, ORDINARY).with_columns(batch=pl.lit(f"day-{i}")) for i in range(3)
    ]
    removed = before.filter(desk="desk-0").head(ORDINARY // 2)
    after = pl.concat([before.join(removed, on="id", how="anti"), *ordinary])
    corrected = after.filter(desk="desk-1").head(ORDINARY // 4)
    after = _relabel(after, corrected, rows.labels, seed)
    parts = _Parts(rows, before, after, queries, spare.slice(3 * ORDINARY), seed)
    return INJECTIONS[fault](parts)


def _relabel(
    table: pl.DataFrame, chosen: pl.DataFrame, labels: Sequence[str], seed: int
) -> pl.DataFrame:
    """Give each of the chosen rows a label at random."""
    random = Random(seed)
    new = [random.choice(labels) for _ in range(len(chosen))]
    changed = chosen.select("id", new=pl.Series(new, dtype=pl.String))
    joined = table.join(changed, on="id", how="left", maintain_order="left")
    return joined.with_columns(label=pl.coalesce("new", "label")).drop("new")


def _finish(
    parts: _Parts,
    fault: str,
    after: pl.DataFrame,
    value: str | None,
    culprit: tuple[str, str] | None,
) -> Incident:
    columns = ["id", "text", "label", "batch"]
    seeds = (parts.seed, parts.seed + 1_000 if culprit is None else parts.seed)
    earlier, later = (table.select(columns) for table in (parts.before, after))
    return Incident(fault, earlier, later, parts.queries, value, culprit, seeds)


def _add_random_labels(parts: _Parts) -> Incident:
    """Add a batch whose labels are random."""
    batch = parts.spare.head(3 * FAULTY).with_columns(batch=pl.lit("day-bad"))
    batch = _relabel(batch, batch, parts.rows.labels, parts.seed)
    after = pl.concat([parts.after, batch])
    return _finish(parts, RANDOM_LABELS, after, None, ("added", "day-bad"))


def _relabel_desk(parts: _Parts) -> Incident:
    """Relabel rows of one desk that have one label: a misunderstood instruction."""
    desk = "desk-2"
    rows = parts.after.filter(pl.col("batch") == desk)
    label = rows["label"].value_counts().sort("count", "label", descending=True)["label"][0]
    chosen = rows.filter(pl.col("label") == label).head(FAULTY)
    others = [each for each in parts.rows.labels if each != label]
    after = _relabel(parts.after, chosen, others, parts.seed)
    return _finish(parts, RELABELLED, after, desk, ("relabelled", desk))


def _leak_queries(parts: _Parts) -> Incident:
    """Add queries of one desk to the training table: the loss falls for a wrong reason."""
    desk = "desk-1"
    leaked = parts.queries.filter(desk=desk).head(FAULTY)
    leaked = leaked.with_columns(id="leak-" + pl.col("text"), batch=pl.lit("day-leak"))
    after = pl.concat([parts.after, leaked.select(parts.after.columns)])
    return _finish(parts, LEAK, after, desk, ("added", "day-leak"))


def _duplicate_rows(parts: _Parts) -> Incident:
    """Add the rows of one label of one desk again, several times."""
    rows = parts.before.filter(pl.col("batch") == "desk-3")
    label = rows["label"].value_counts().sort("count", "label")["label"][0]
    chosen = rows.filter(pl.col("label") == label).head(FAULTY // 4)
    copies = [
        chosen.with_columns(id=pl.lit(f"copy{i}-") + pl.col("text"), batch=pl.lit("day-copies"))
        for i in range(8)
    ]
    after = pl.concat([parts.after, *copies])
    return _finish(parts, DUPLICATES, after, "desk-3", ("added", "day-copies"))


def _remove_slice(parts: _Parts) -> Incident:
    """Remove the rows of one label of one desk, as by a wrong filter."""
    desk = "desk-3"
    rows = parts.after.filter(pl.col("batch") == desk)
    label = rows["label"].value_counts().sort("count", "label", descending=True)["label"][0]
    gone = rows.filter(pl.col("label") == label)
    gone = gone.head(round(0.9 * len(gone)))
    after = parts.after.join(gone, on="id", how="anti")
    return _finish(parts, REMOVED_SLICE, after, desk, ("removed", desk))


def _change_seed(parts: _Parts, value: str | None = None) -> Incident:
    """Change nothing but the seed and the ordinary rows."""
    return _finish(parts, SEED, parts.after, value, None)


INJECTIONS: dict[str, Callable[[_Parts], Incident]] = {
    RANDOM_LABELS: _add_random_labels,
    RELABELLED: _relabel_desk,
    LEAK: _leak_queries,
    DUPLICATES: _duplicate_rows,
    REMOVED_SLICE: _remove_slice,
    SEED: partial(_change_seed, value=None),
}
