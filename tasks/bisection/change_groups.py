"""Groups of the training rows that differ between two runs: added, removed, relabelled, edited."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from fastif import InputError
from storage.matching import CONTENT, EDITED, RELABELLED, Matching
from storage.run_comparison import RunTables
from tasks.results.group_names import format_group_value

ADDED, REMOVED = "added", "removed"
KINDS = (ADDED, REMOVED, RELABELLED, EDITED)
"""Kinds of changed rows; a training row of either run belongs to one group at most."""
PREFIX = "group_"
"""Prefix of the stored group columns."""


@dataclass(frozen=True, eq=False)
class ChangeGroup:
    """Training rows that changed in the same way and have one source.

    Attributes:
        kind: Kind of the change, see `KINDS`.
        column: Group column that holds the source, without prefix; None without such a column.
        source: Value of that column, of the later run where the row is in it; None for rows
            without one. Rows relabelled without such a column have old and new label here.
        before: Positions of the rows in the earlier training table; empty for added rows.
        after: Positions in the later training table; empty for removed rows.
        moves: Number of rows by old and new label, the most frequent first; relabelled rows only.
        copies: Number of added rows whose text is that of another training row of the later run.
        leaks: Number of added rows whose text is that of a query of the later run.
    """

    kind: str
    column: str | None
    source: str | None
    before: tuple[int, ...]
    after: tuple[int, ...]
    moves: tuple[tuple[str, str, int], ...] = ()
    copies: int = 0
    leaks: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max(len(self.before), len(self.after))


def group_changes(
    before: RunTables, after: RunTables, matched: Matching, by: str | None = None
) -> list[ChangeGroup]:
    """Return the groups of changed training rows, by kind and then by source.

    Args:
        before: Tables of the earlier run.
        after: Tables of the later run.
        matched: Matching of their training rows.
        by: Group column of the training rows; the first of the later run by default. Without any,
            relabelled rows are grouped by old and new label, and all others by kind alone.

    Raises:
        InputError: The training rows of neither run have the column.
    """
    column = _select_column(before, after, by)
    changed = _list_changed_rows(before, after, matched, column)
    keys = ["kind", "source"]
    groups = [
        _make_group(kind, column, source, rows)
        for (kind, source), rows in changed.group_by(keys, maintain_order=True)
    ]
    return sorted(groups, key=lambda group: (KINDS.index(group.kind), group.source or ""))


def _select_column(before: RunTables, after: RunTables, by: str | None) -> str | None:
    earlier, later = (
        [name for name in tables.train.collect_schema().names() if name.startswith(PREFIX)]
        for tables in (before, after)
    )
    if by is None:
        return later[0].removeprefix(PREFIX) if later else None
    names = [name.removeprefix(PREFIX) for name in dict.fromkeys([*later, *earlier])]
    if by not in names:
        raise InputError(
            "--by",
            f"a group column of the training rows: {', '.join(names) or 'there is none'}",
            by,
            "Use one of them, or add the column to [train] groups and audit both tables again.",
        )
    return by


def _list_changed_rows(
    before: RunTables, after: RunTables, matched: Matching, column: str | None
) -> pl.DataFrame:
    """Return one row a changed training row, with the columns that groups are made of."""
    pairs = matched.pairs.with_columns(pl.col("before", "after").cast(pl.UInt32))
    old = _read_rows(before, "before", column)
    new = _read_rows(after, "after", column).with_columns(
        copy=_read_content(after.train, "train").is_duplicated(),
        leak=_find_leaks(after),
    )
    changed = pairs.filter(pl.col("how").is_in([RELABELLED, EDITED])).rename({"how": "kind"})
    rows = pl.concat(
        [
            new.join(pairs, on="after", how="anti").select("after", kind=pl.lit(ADDED)),
            old.join(pairs, on="before", how="anti").select("before", kind=pl.lit(REMOVED)),
            changed,
        ],
        how="diagonal_relaxed",
    )
    rows = rows.join(old, on="before", how="left").join(new, on="after", how="left", suffix="_new")
    is_kept = pl.col("after").is_not_null()
    source = pl.when(is_kept).then("source_new").otherwise("source")
    if column is None:
        renamed = pl.col("label").replace(matched.renamed)
        move = renamed + pl.lit(" → ") + pl.col("label_new")
        source = pl.when(pl.col("kind") == RELABELLED).then(move)
    return rows.with_columns(source=source).sort("after", "before")


def _read_rows(tables: RunTables, side: str, column: str | None) -> pl.DataFrame:
    """Return the position (as column `side`), label and source of each training row."""
    name = f"{PREFIX}{column}"
    has_source = column is not None and name in tables.train.collect_schema().names()
    source = pl.col(name) if has_source else pl.lit(None, pl.String)
    position = pl.col("train").cast(pl.UInt32).alias(side)
    return tables.train.select(position, "label", source=source).sort(side).collect()


def _read_content(frame: pl.LazyFrame, key: str) -> pl.Series:
    """Return the texts of each row as a struct, in the order of the positions."""
    texts = [name for name in CONTENT if name in frame.collect_schema().names()]
    return frame.sort(key).select(content=pl.struct(texts)).collect()["content"]


def _find_leaks(tables: RunTables) -> pl.Series:
    """Return whether the texts of each training row are those of a query."""
    queries = _read_content(tables.queries, "query").unique().to_frame().with_columns(leak=True)
    rows = _read_content(tables.train, "train").to_frame()
    joined = rows.join(queries, on="content", how="left", nulls_equal=True, maintain_order="left")
    return joined["leak"].fill_null(False)


def _make_group(
    kind: str, column: str | None, source: str | None, rows: pl.DataFrame
) -> ChangeGroup:
    is_added = kind == ADDED
    return ChangeGroup(
        kind,
        column,
        source,
        tuple(rows["before"].drop_nulls().to_list()),
        tuple(rows["after"].drop_nulls().to_list()),
        tuple(_count_moves(rows)) if kind == RELABELLED else (),
        int(rows["copy"].sum()) if is_added else 0,
        int(rows["leak"].sum()) if is_added else 0,
    )


def _count_moves(rows: pl.DataFrame) -> Iterator[tuple[str, str, int]]:
    counts = rows.group_by("label", "label_new").agg(rows=pl.len())
    yield from counts.sort("rows", "label", "label_new", descending=[True, False, False]).rows()


def describe_group(group: ChangeGroup) -> str:
    """Return kind and source of a group in words.

    >>> describe_group(ChangeGroup("added", "source", "night-3", (), (7, 8)))
    'added, source night-3'
    """
    if group.column is not None:
        return f"{group.kind}, {group.column} {format_group_value(group.source)}"
    return f"{group.kind}, {group.source}" if group.source else group.kind
