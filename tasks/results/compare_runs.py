"""What changed from one run to another, and how far the two may be compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage import Store
from storage.matching import EDITED, RELABELLED, SAME
from storage.run_comparison import (
    BECAME_HARMFUL,
    STOPPED_HARMING,
    RunMatching,
    RunTables,
    find_changes,
)
from tasks.results.comparability import Comparability, Level, check_comparability, check_leverage
from tasks.run.lookup import check_undamaged

WORST = 100
"""Rows that do most harm in a run: who enters or leaves these has changed."""
SHOWN = 10


@dataclass(frozen=True)
class SliceDifference:
    """What moved for some of the queries that both runs were asked.

    Attributes:
        value: of the group, as the later run has it; None for queries without one.
        queries: asked in both runs.
        before: share that the earlier run's model predicted correctly.
        after: the same of the later one's.
        newly_harmful: training rows that became harmful to these queries; None if that cannot be
            told.
        no_longer_harmful: training rows that stopped being so.
    """

    value: str | None
    queries: int
    before: float
    after: float
    newly_harmful: int | None
    no_longer_harmful: int | None


@dataclass(frozen=True, eq=False)
class RunPair:
    """Two runs whose worst rows are compared.

    Attributes:
        before, after: their tables.
        matched: which rows are the same.
        k: rows that do most harm in a run.
        level: how far effects may be compared, see `Comparability`.
    """

    before: RunTables
    after: RunTables
    matched: RunMatching
    k: int
    level: Level

    def find_changes(self, queries: pl.DataFrame) -> pl.DataFrame | None:
        """Rows that entered or left the worst of these queries; None if that cannot be told."""
        if self.level == "nothing" or queries.is_empty():
            return None
        sizes = self.level == "numbers"
        return find_changes(self.before, self.after, self.k, self.matched, queries, sizes)


@dataclass(frozen=True)
class RunDifference:
    """Two runs side by side.

    Attributes:
        comparability: how far they may be compared.
        overall: of all queries asked in both; None if there are none.
        group: by which `slices` are cut, without its prefix; None without groups.
        slices: the same by that group.
        rows: training rows that entered or left the worst, see `storage.run_comparison`; None if
            effects cannot be compared.
        notes: how rows were matched, and what could not be compared, sentence by sentence.
    """

    comparability: Comparability
    overall: SliceDifference | None
    group: str | None
    slices: tuple[SliceDifference, ...]
    rows: pl.DataFrame | None
    notes: tuple[str, ...]

    def count(self, *words: str) -> int | None:
        """Rows with these changes, see `storage.run_comparison`; None if that cannot be told."""
        return None if self.rows is None else int(self.rows["change"].is_in(words).sum())

    @property
    def common_queries(self) -> int:
        """Queries asked in both."""
        return self.overall.queries if self.overall else 0


def diff_runs(store: Store, before: str, after: str, k: int = WORST) -> RunDifference:
    """Compare two runs of a store; rows are the same by their content, see `storage.matching`.

    Raises:
        StoreError: there is no such run, or a file of it is damaged.
    """
    old, new = (store.read_record(check_undamaged(store, run)) for run in (before, after))
    earlier, later = RunTables.scan(store, before), RunTables.scan(store, after)
    matched = RunMatching.match(earlier, later)
    comparability = check_leverage(check_comparability(old, new), store, before, after)
    pair = RunPair(earlier, later, matched, k, comparability.level)
    rows = pair.find_changes(matched.common_queries)
    group = _find_first_group(later)
    notes = [*_describe_unfinished(store, before, after), *describe_matching(matched)]
    notes += _describe_groups(earlier, later, group)
    if matched.common_queries.is_empty():
        notes.append("No query is the same in both runs, so that no effect can be compared.")
    return RunDifference(
        comparability,
        _compare_overall(earlier, later, matched, rows),
        group.removeprefix("group_") if group else None,
        tuple(_compare_slices(pair)),
        rows,
        tuple(notes),
    )


def describe_matching(matched: RunMatching) -> Iterator[str]:
    """How many rows of each table are the same, and what became of the others."""
    for name, table_match in (("training rows", matched.train), ("queries", matched.queries)):
        criterion = (
            "content" if table_match.by_content else "their ids alone (a run holds no texts)"
        )
        counts = [
            f"{table_match.count(SAME):,} the same",
            *(
                f"{table_match.count(kind):,} {kind}"
                for kind in (RELABELLED, EDITED)
                if table_match.count(kind)
            ),
            *([f"{table_match.new:,} new"] if table_match.new else []),
            *([f"{table_match.gone:,} gone"] if table_match.gone else []),
        ]
        yield f"{name.capitalize()} are matched by {criterion}: {', '.join(counts)}."
    for old, new in {**matched.queries.renamed, **matched.train.renamed}.items():
        yield f"Label {old} is called {new} now."


def _describe_unfinished(store: Store, *runs: str) -> Iterator[str]:
    for run in dict.fromkeys(runs):
        status = store.read_status(run)
        if not status.finished:
            yield f"Run {run} is not finished: {status.done} of {status.planned} shards are here."


def _find_first_group(tables: RunTables) -> str | None:
    """The first group of the queries."""
    names = tables.queries.collect_schema().names()
    return next((name for name in names if name.startswith("group_")), None)


def _describe_groups(before: RunTables, after: RunTables, group: str | None) -> Iterator[str]:
    old, new = (
        [
            name.removeprefix("group_")
            for name in tables.queries.collect_schema().names()
            if name.startswith("group_")
        ]
        for tables in (before, after)
    )
    if set(old) != set(new):
        was, now = (", ".join(names) or "nothing" for names in (old, new))
        note = f" Slices are by {group.removeprefix('group_')} as it is now." if group else ""
        yield f"Queries were grouped by {was} and are by {now}.{note}"


def _join_common_queries(before: RunTables, after: RunTables, matched: RunMatching) -> pl.DataFrame:
    """The queries of both runs: before, after, correct, correct_after, and the group as it is."""
    group = _find_first_group(after)
    value = pl.col(group) if group else pl.lit(None, pl.String)
    position, correct = pl.col("query").cast(pl.UInt32), pl.col("correct")
    old = before.queries.select(before=position, correct=correct).collect()
    new = after.queries.select(after=position, correct_after=correct, group=value).collect()
    return matched.common_queries.join(old, on="before").join(new, on="after").sort("after")


def _compare_overall(
    before: RunTables, after: RunTables, matched: RunMatching, rows: pl.DataFrame | None
) -> SliceDifference | None:
    queries = _join_common_queries(before, after, matched)
    return None if queries.is_empty() else _make_slice_difference(None, queries, rows)


def _compare_slices(pair: RunPair) -> Iterator[SliceDifference]:
    """By the values of the first group of the later run, whatever the earlier one grouped by."""
    if _find_first_group(pair.after) is None:
        return
    queries = _join_common_queries(pair.before, pair.after, pair.matched)
    values = {
        value: members for (value,), members in queries.group_by("group", maintain_order=True)
    }
    for value in sorted(values, key=lambda value: (value is None, value)):
        members = values[value]
        yield _make_slice_difference(
            value, members, pair.find_changes(members.select("before", "after"))
        )  # type: ignore[arg-type]


def _make_slice_difference(
    value: str | None, queries: pl.DataFrame, rows: pl.DataFrame | None
) -> SliceDifference:
    before, after = queries.select(pl.col("correct", "correct_after").mean()).row(0)
    counts = [None, None]
    if rows is not None:
        counts = [
            int((rows["change"] == change).sum()) for change in (BECAME_HARMFUL, STOPPED_HARMING)
        ]
    return SliceDifference(value, len(queries), before, after, *counts)
