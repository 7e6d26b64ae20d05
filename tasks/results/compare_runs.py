"""Differences between two runs: accuracy by slice, and rows that entered or left the worst 100."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage import Store
from storage.matching import EDITED, RELABELLED, SAME
from storage.run_comparison import (
    ENTERED,
    ENTERED_DOUBLED,
    LEFT,
    LEFT_HALVED,
    RunMatching,
    RunTables,
    find_changes,
)
from tasks.results.changed_prediction import PredictionChanges, find_prediction_changes
from tasks.results.changed_query import QueryChanges, find_query_changes
from tasks.results.comparability import Comparability, Level, check_effects, has_equal_loss
from tasks.run.lookup import check_undamaged

_CORRECT = (pl.col("correct"), pl.col("correct_after"))
WORST = 100
"""Number of most harmful rows of a run that are compared: entering or leaving them is a change."""
SHOWN = 10


@dataclass(frozen=True)
class SliceDifference:
    """Differences between two runs on a slice of their common queries.

    Attributes:
        value: Value of the group column in the later run; None for queries without one.
        queries: Number of queries that are in both runs.
        before: Accuracy of the earlier run's model on them, from 0 to 1.
        after: Accuracy of the later run's model on them, from 0 to 1.
        entered: Number of training rows that entered the k most harmful to these queries; None if
            effects cannot be compared.
        left: Number of training rows that left the k most harmful to them; None if effects cannot
            be compared.
        broken: Number of queries that only the earlier run's model predicts correctly.
        repaired: Number of queries that only the later run's model predicts correctly.
        doubled: Number of rows that entered and whose own harm at least doubled; None if sizes of
            effects cannot be compared.
        halved: Number of rows that left and whose own harm at least halved; None if sizes of
            effects cannot be compared.
    """

    value: str | None
    queries: int
    before: float
    after: float
    entered: int | None
    left: int | None
    broken: int = 0
    repaired: int = 0
    doubled: int | None = None
    halved: int | None = None


@dataclass(frozen=True, eq=False)
class RunPair:
    """Two runs with the matching of their rows.

    Attributes:
        before, after: Tables of the earlier and the later run.
        matched: Matching of the rows of both runs by content.
        k: Number of most harmful rows of a run that are compared.
        level: Comparable quantity, see `Comparability`.
    """

    before: RunTables
    after: RunTables
    matched: RunMatching
    k: int
    level: Level

    def find_changes(self, queries: pl.DataFrame) -> pl.DataFrame | None:
        """Rows that entered or left the k most harmful to `queries`; None if not comparable."""
        if self.level == "nothing" or queries.is_empty():
            return None
        sizes = self.level == "numbers"
        return find_changes(self.before, self.after, self.k, self.matched, queries, sizes)


@dataclass(frozen=True)
class RunDifference:
    """Result of the comparison of two runs.

    Attributes:
        comparability: Comparable quantity, with the differing settings.
        overall: Differences on all common queries; None if there are none.
        group: Column of `slices`, without its prefix; None without groups.
        slices: Differences for each value of that column.
        rows: Training rows that entered or left the most harmful ones, see
            `storage.run_comparison`; None if effects cannot be compared.
        notes: Sentences on the matching of rows and on what could not be compared.
        queries: Queries that were broken or repaired, with changed training rows; None if the runs
            have no query in common.
        k: Number of most harmful rows of a run that are compared, in all and for each slice.
        predictions: Queries whose predicted label changed, with the rows that support each label;
            None if the runs have no query in common.
    """

    comparability: Comparability
    overall: SliceDifference | None
    group: str | None
    slices: tuple[SliceDifference, ...]
    rows: pl.DataFrame | None
    notes: tuple[str, ...]
    queries: QueryChanges | None = None
    k: int = WORST
    predictions: PredictionChanges | None = None

    def count(self, *words: str) -> int | None:
        """Number of rows with these changes, see `storage.run_comparison`; None if unknown."""
        return None if self.rows is None else int(self.rows["change"].is_in(words).sum())

    @property
    def has_sizes(self) -> bool:
        """Whether sizes of effects can be compared."""
        return self.comparability.level == "numbers"

    @property
    def common_queries(self) -> int:
        """Number of queries that are in both runs."""
        return self.predictions.common if self.predictions else 0


def diff_runs(store: Store, before: str, after: str, k: int = WORST) -> RunDifference:
    """Compare two runs of a store; rows are matched by content, see `storage.matching`.

    Raises:
        StoreError: there is no such run, or a file of it is damaged.
    """
    old, new = (store.read_record(check_undamaged(store, run)) for run in (before, after))
    earlier, later = RunTables.scan(store, before), RunTables.scan(store, after)
    matched = RunMatching.match(earlier, later)
    comparability = check_effects(store, before, after)
    level = comparability.level
    pair = RunPair(earlier, later, matched, k, level)
    rows = pair.find_changes(matched.common_queries)
    group = _find_first_group(later)
    notes = [*_describe_unfinished(store, before, after), *describe_matching(matched)]
    notes += _describe_groups(earlier, later, group)
    overall = _compare_overall(pair, rows)
    has_common = not matched.common_queries.is_empty()
    if not has_common:
        notes.append("The two runs have no query in common, so no effects can be compared.")
    return RunDifference(
        comparability,
        overall,
        group.removeprefix("group_") if group else None,
        tuple(_compare_slices(pair)),
        rows,
        tuple(notes),
        find_query_changes(earlier, later, matched, level, has_equal_loss(old, new))
        if overall
        else None,
        k,
        find_prediction_changes(earlier, later, matched) if has_common else None,
    )


def describe_entered(part: SliceDifference, k: int) -> str:
    """Describe how many training rows entered and left the k most harmful.

    Examples:
        >>> part = SliceDifference(None, 70, 0.8, 0.8, 9, 8, doubled=3, halved=1)
        >>> print(describe_entered(part, 100))
        9 training rows entered the 100 most harmful (3 with twice the harm or more), 8 left them \
(1 with half the harm or less)
    """
    entered = f"{part.entered or 0:,} training rows entered the {k:,} most harmful"
    left = f"{part.left or 0:,} left them"
    if part.doubled is not None and part.halved is not None:
        entered += f" ({part.doubled:,} with twice the harm or more)"
        left += f" ({part.halved:,} with half the harm or less)"
    return f"{entered}, {left}"


def describe_matching(matched: RunMatching) -> Iterator[str]:
    """Yield sentences that count the matched, changed, new and removed rows of each table."""
    for name, table_match in (("training rows", matched.train), ("queries", matched.queries)):
        criterion = "content" if table_match.by_content else "id alone (a run holds no texts)"
        counts = [
            f"{table_match.count(SAME):,} the same",
            *(
                f"{table_match.count(kind):,} {kind}"
                for kind in (RELABELLED, EDITED)
                if table_match.count(kind)
            ),
            *([f"{table_match.new:,} new"] if table_match.new else []),
            *([f"{table_match.gone:,} removed"] if table_match.gone else []),
        ]
        yield f"{name.capitalize()} are matched by {criterion}: {', '.join(counts)}."
    for old, new in {**matched.queries.renamed, **matched.train.renamed}.items():
        yield f"Label {old} was renamed to {new}."


def _describe_unfinished(store: Store, *runs: str) -> Iterator[str]:
    for run in dict.fromkeys(runs):
        status = store.read_status(run)
        if not status.finished:
            yield f"Run {run} is not finished: {status.done} of {status.planned} shards exist."


def _find_first_group(tables: RunTables) -> str | None:
    """First group column of the queries; None without one."""
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
        note = f" Slices use {group.removeprefix('group_')} of the later run." if group else ""
        yield f"The groups of the queries changed from {was} to {now}.{note}"


def _join_common_queries(before: RunTables, after: RunTables, matched: RunMatching) -> pl.DataFrame:
    """Common queries with labels: before, after, correct, correct_after, and the later group."""
    group = _find_first_group(after)
    value = pl.col(group) if group else pl.lit(None, pl.String)
    position, correct = pl.col("query").cast(pl.UInt32), pl.col("correct")
    old = before.queries.select(before=position, correct=correct).collect()
    new = after.queries.select(after=position, correct_after=correct, group=value).collect()
    joined = matched.common_queries.join(old, on="before").join(new, on="after")
    return joined.drop_nulls(["correct", "correct_after"]).sort("after")


def _compare_overall(pair: RunPair, rows: pl.DataFrame | None) -> SliceDifference | None:
    queries = _join_common_queries(pair.before, pair.after, pair.matched)
    return None if queries.is_empty() else _make_slice_difference(None, queries, rows, pair.level)


def _compare_slices(pair: RunPair) -> Iterator[SliceDifference]:
    """Differences for each value of the first group column of the later run."""
    if _find_first_group(pair.after) is None:
        return
    queries = _join_common_queries(pair.before, pair.after, pair.matched)
    values = {
        value: members for (value,), members in queries.group_by("group", maintain_order=True)
    }
    for value in sorted(values, key=lambda value: (value is None, value)):
        members = values[value]
        rows = pair.find_changes(members.select("before", "after"))
        yield _make_slice_difference(value, members, rows, pair.level)  # type: ignore[arg-type]


def _make_slice_difference(
    value: str | None, queries: pl.DataFrame, rows: pl.DataFrame | None, level: Level
) -> SliceDifference:
    before, after = queries.select(pl.col("correct", "correct_after").mean()).row(0)

    def count(*changes: str) -> int | None:
        return None if rows is None else int(rows["change"].is_in(changes).sum())

    has_sizes = level == "numbers"
    broken, repaired = (
        int(queries.select(was_right & ~is_right).sum().item())
        for was_right, is_right in (_CORRECT, _CORRECT[::-1])
    )
    return SliceDifference(
        value,
        len(queries),
        before,
        after,
        count(*ENTERED),
        count(*LEFT),
        broken,
        repaired,
        count(ENTERED_DOUBLED) if has_sizes else None,
        count(LEFT_HALVED) if has_sizes else None,
    )
