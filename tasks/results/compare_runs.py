"""What changed from one run to another, and how far the two may be compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage import RunRecord, Store
from storage.matching import EDITED, RELABELLED, SAME
from storage.run_comparison import (
    BECAME,
    STOPPED,
    Matched,
    Tables,
    changes,
)
from tasks.run.lookup import undamaged_run

SAME_SCALE = ("train", "queries", "certificate", "groups", "carried")
"""Parts of a run of which another changes what is asked, and not what a number means."""
SAME_ORDER = (*SAME_SCALE, "model", "models", "candidates")
"""Parts of which another leaves the order of rows comparable, but not the sizes of effects."""
WORST = 100
"""Rows that do most harm in a run: who enters or leaves these has changed."""
SHOWN = 10


@dataclass(frozen=True)
class Verdict:
    """How far two runs may be compared.

    Attributes:
        level: "numbers", "order" or "nothing".
        reasons: what differs, setting by setting.
    """

    level: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """In a sentence.

        >>> print(Verdict("order", ("model: another one",)))
        Only the order of rows can be compared, not the sizes of effects: model: another one.
        """
        what = {
            "numbers": "Effects can be compared number by number",
            "order": "Only the order of rows can be compared, not the sizes of effects",
            "nothing": "Effects cannot be compared: they answer different questions",
        }[self.level]
        return f"{what}{': ' + '; '.join(self.reasons) if self.reasons else ''}."


@dataclass(frozen=True)
class Slice:
    """What moved for some of the queries that both runs were asked.

    Attributes:
        value: of the group, as the later run has it; None for queries without one.
        queries: asked in both runs.
        before: share that the earlier run's model predicted correctly.
        after: the same of the later one's.
        became: training rows that became harmful to these queries; None if that cannot be told.
        stopped: training rows that stopped being so.
    """

    value: str | None
    queries: int
    before: float
    after: float
    became: int | None
    stopped: int | None


@dataclass(frozen=True, eq=False)
class Sides:
    """Two runs whose worst rows are compared.

    Attributes:
        before, after: their tables.
        matched: which rows are the same.
        k: rows that do most harm in a run.
        level: how far effects may be compared, see `Verdict`.
    """

    before: Tables
    after: Tables
    matched: Matched
    k: int
    level: str

    def changes(self, queries: pl.DataFrame) -> pl.DataFrame | None:
        """Rows that entered or left the worst of these queries; None if that cannot be told."""
        if self.level == "nothing" or queries.is_empty():
            return None
        sizes = self.level == "numbers"
        return changes(self.before, self.after, self.k, self.matched, queries, sizes)


@dataclass(frozen=True)
class Difference:
    """Two runs side by side.

    Attributes:
        verdict: how far they may be compared.
        overall: of all queries asked in both; None if there are none.
        group: by which `slices` are cut, without its prefix; None without groups.
        slices: the same by that group.
        rows: training rows that entered or left the worst, see `storage.run_comparison`; None if
            effects cannot be compared.
        notes: how rows were matched, and what could not be compared, sentence by sentence.
    """

    verdict: Verdict
    overall: Slice | None
    group: str | None
    slices: tuple[Slice, ...]
    rows: pl.DataFrame | None
    notes: tuple[str, ...]

    def count(self, *words: str) -> int | None:
        """Rows with these changes, see `storage.run_comparison`; None if that cannot be told."""
        return None if self.rows is None else int(self.rows["change"].is_in(words).sum())

    @property
    def common(self) -> int:
        """Queries asked in both."""
        return self.overall.queries if self.overall else 0


def difference(store: Store, before: str, after: str, k: int = WORST) -> Difference:
    """Compare two runs of a store; rows are the same by their content, see `storage.matching`.

    Raises:
        StoreError: there is no such run, or a file of it is damaged.
    """
    old, new = (store.record(undamaged_run(store, run)) for run in (before, after))
    earlier, later = Tables.of(store, before), Tables.of(store, after)
    matched = Matched.of(earlier, later)
    verdict = _of_one_expansion(compared(old, new), store, before, after)
    sides = Sides(earlier, later, matched, k, verdict.level)
    rows = sides.changes(matched.common)
    group = _group(later)
    notes = [*_unfinished(store, before, after), *matching_notes(matched)]
    notes += _group_notes(earlier, later, group)
    if matched.common.is_empty():
        notes.append("No query is the same in both runs, so that no effect can be compared.")
    return Difference(
        verdict,
        _overall(earlier, later, matched, rows),
        group.removeprefix("group_") if group else None,
        tuple(_slices(sides)),
        rows,
        tuple(notes),
    )


def previous(store: Store, run: str) -> str | None:
    """The last whole run before this one whose effects, or their order, can be compared.

    Before goes by the numbers that runs are given, see `storage.order`.
    """
    record = store.record(run)
    names = [status.record.run for status in store.runs()]
    for name in names[names.index(run) + 1 :]:
        status = store.status(name)
        if status.whole and compared(status.record, record).level != "nothing":
            return name
    return None


def compared(before: RunRecord, after: RunRecord) -> Verdict:
    """How far effects of the two may be compared, by what each depends on."""
    parts = {
        name
        for name in {*before.parts, *after.parts}
        if before.parts.get(name) != after.parts.get(name)
    }
    reasons = list(_reasons(before, after, parts))
    if parts <= set(SAME_SCALE):
        return Verdict("numbers", tuple(reasons))
    return Verdict("order" if parts <= set(SAME_ORDER) else "nothing", tuple(reasons))


def _of_one_expansion(verdict: Verdict, store: Store, before: str, after: str) -> Verdict:
    """Numbers of which one run counts the leverage of rows and the other does not are unlike.

    "auto" may have decided so by the size of the tables, which the settings do not show.
    """
    on = [
        store.scan("solves", run).select((pl.col("leverage") == "on").fill_null(False).any())
        for run in (before, after)
    ]
    first, second = (bool(found.collect().item()) for found in on)
    if verdict.level != "numbers" or first == second:
        return verdict
    reason = f"leverage of rows: {'on' if first else 'off'} became {'on' if second else 'off'}"
    return Verdict("order", (*verdict.reasons, reason))


def _reasons(before: RunRecord, after: RunRecord, parts: set[str]) -> Iterator[str]:
    for name in sorted(parts):
        if name == "train" and before.train_rows != after.train_rows:
            ratio = before.train_rows / after.train_rows
            yield (
                f"{before.train_rows:,} training rows became {after.train_rows:,}, so each effect "
                f"is {ratio:.2f} times as large by that alone"
            )
        elif name in ("train", "queries"):
            yield f"rows of {'training' if name == 'train' else 'query'} table changed"
        elif name in ("model", "models"):
            yield "another model"
        elif name == "carried":
            yield "one has answers and curvature of an earlier night"
    told = [one for one in before.differences(after) if one.split(":")[0].split(".")[0] in parts]
    skipped = ("train", "query", "queries:", "model:", "models:", "shard_size", "certificate")
    skipped += ("carried",)
    yield from (one for one in told if not one.startswith(skipped))


def matching_notes(matched: Matched) -> Iterator[str]:
    """How many rows of each table are the same, and what became of the others."""
    for name, part in (("training rows", matched.train), ("queries", matched.queries)):
        by = "content" if part.by_content else "their ids alone (a run holds no texts)"
        counts = [
            f"{part.count(SAME):,} the same",
            *(f"{part.count(how):,} {how}" for how in (RELABELLED, EDITED) if part.count(how)),
            *([f"{part.new:,} new"] if part.new else []),
            *([f"{part.gone:,} gone"] if part.gone else []),
        ]
        yield f"{name.capitalize()} are matched by {by}: {', '.join(counts)}."
    for old, new in {**matched.queries.renamed, **matched.train.renamed}.items():
        yield f"Label {old} is called {new} now."


def _unfinished(store: Store, *runs: str) -> Iterator[str]:
    for run in dict.fromkeys(runs):
        status = store.status(run)
        if not status.finished:
            yield f"Run {run} is not finished: {status.done} of {status.planned} shards are here."


def _group(tables: Tables) -> str | None:
    """The first group of the queries."""
    names = tables.queries.collect_schema().names()
    return next((name for name in names if name.startswith("group_")), None)


def _group_notes(before: Tables, after: Tables, group: str | None) -> Iterator[str]:
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
        by = f" Slices are by {group.removeprefix('group_')} as it is now." if group else ""
        yield f"Queries were grouped by {was} and are by {now}.{by}"


def _asked(before: Tables, after: Tables, matched: Matched) -> pl.DataFrame:
    """The queries of both runs: before, after, correct, correct_after, and the group as it is."""
    group = _group(after)
    value = pl.col(group) if group else pl.lit(None, pl.String)
    place, correct = pl.col("query").cast(pl.UInt32), pl.col("correct")
    old = before.queries.select(before=place, correct=correct).collect()
    new = after.queries.select(after=place, correct_after=correct, group=value).collect()
    return matched.common.join(old, on="before").join(new, on="after").sort("after")


def _overall(
    before: Tables, after: Tables, matched: Matched, rows: pl.DataFrame | None
) -> Slice | None:
    both = _asked(before, after, matched)
    return None if both.is_empty() else _moved(None, both, rows)


def _slices(sides: Sides) -> Iterator[Slice]:
    """By the values of the first group of the later run, whatever the earlier one grouped by."""
    if _group(sides.after) is None:
        return
    asked = _asked(sides.before, sides.after, sides.matched)
    values = {value: part for (value,), part in asked.group_by("group", maintain_order=True)}
    for value in sorted(values, key=lambda value: (value is None, value)):
        part = values[value]
        yield _moved(value, part, sides.changes(part.select("before", "after")))  # type: ignore[arg-type]


def _moved(value: str | None, both: pl.DataFrame, rows: pl.DataFrame | None) -> Slice:
    before, after = both.select(pl.col("correct", "correct_after").mean()).row(0)
    counts = [None, None]
    if rows is not None:
        counts = [int((rows["change"] == change).sum()) for change in (BECAME, STOPPED)]
    return Slice(value, len(both), before, after, *counts)
