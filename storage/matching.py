"""Matching of the rows of two versions of a table, by content first and by id second.

Ids alone are not reliable: a table without an id column numbers its rows, so that one inserted row
renames all that follow, and a database may reuse an id for another text. Influence depends on the
content, hence rows are matched by their text or texts; rows of equal content are matched by
multiplicity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from storage.errors import StoreError

SAME: Final = "same"
"""Value of `how` for pairs with equal content and label."""
RELABELLED: Final = "relabelled"
"""Value of `how` for pairs with equal content and different labels."""
EDITED: Final = "edited"
"""Value of `how` for pairs with equal ids and different content."""
CONTENT: Final = ("text", "text_pair")
"""Columns that make up the content of a row."""
_MIN_KEPT_SHARE: Final = 0.5
"""Minimum share of the rows matched by content with unchanged ids; only then are ids used to
match."""
_PAIR_SCHEMA: Final = {"before": pl.UInt32, "after": pl.UInt32, "how": pl.String}


@dataclass(frozen=True, eq=False)
class Matching:
    """Row matching of an earlier and a later table.

    Attributes:
        pairs: Matched rows. Columns: `before` and `after` (positions in the two tables) and
            `how` (`SAME`, `RELABELLED` or `EDITED`).
        by_content: False if a table holds no texts, so that rows were matched by id alone.
        new: Number of rows of the later table without a match.
        gone: Number of rows of the earlier table without a match.
        renamed: New name by old name of labels that were renamed throughout the table.
    """

    pairs: pl.DataFrame
    by_content: bool
    new: int
    gone: int
    renamed: dict[str, str] = field(default_factory=dict)

    def count(self, how: str) -> int:
        """Return the number of pairs with this value of `how`."""
        return int((self.pairs["how"] == how).sum())


def match_rows(before: pl.LazyFrame, after: pl.LazyFrame, key: str) -> Matching:
    """Match the rows of two tables by content, then the rest by id where ids are stable.

    Rows with equal content are paired in the order: equal label and id, equal label, equal id,
    order of the tables.

    Args:
        before: Earlier table, `train` or `queries`.
        after: Later table of the same kind.
        key: Name of the position column, "train" or "query".

    Returns:
        The pairs, sorted by position in the later table, and the number of unmatched rows.

    Raises:
        StoreError: A table has no texts, and its ids are row numbers or not unique, so that
            rows cannot be matched.
    """
    old, new = (_select_columns(frame, key) for frame in (before, after))
    content = [name for name in CONTENT if name in old.columns and name in new.columns]
    if "text" not in content:
        return _match_by_ids(old, new, key)
    renamed = _find_renamed_labels(old, new, content)
    old = old.with_columns(pl.col("label").replace(renamed))
    matched = _match_passes(old, new, list(_list_passes(content)))
    if _has_stable_ids(old, new, matched):
        unmatched_old = old.join(matched, left_on="at", right_on="before", how="anti")
        unmatched_new = new.join(matched, left_on="at", right_on="after", how="anti")
        matched = pl.concat([matched, _pair_rows(unmatched_old, unmatched_new, ["id"], EDITED)])
    return _make_matching(old, new, matched, by_content=True, renamed=renamed)


def _select_columns(frame: pl.LazyFrame, key: str) -> pl.DataFrame:
    wanted = ("id", "label", *CONTENT)
    present = [name for name in wanted if name in frame.collect_schema().names()]
    rows = frame.select(pl.col(key).cast(pl.UInt32).alias("at"), *present).sort("at").collect()
    return rows if "label" in present else rows.with_columns(label=pl.lit(None, pl.String))


def _list_passes(content: list[str]) -> Iterator[tuple[list[str], str]]:
    yield [*content, "label", "id"], SAME
    yield [*content, "label"], SAME
    yield [*content, "id"], RELABELLED
    yield content, RELABELLED


def _match_passes(
    old: pl.DataFrame, new: pl.DataFrame, passes: list[tuple[list[str], str]]
) -> pl.DataFrame:
    """Run the matching passes in order, each on the rows that the earlier ones left unmatched."""
    matches = [pl.DataFrame(schema=_PAIR_SCHEMA)]
    for columns, how in passes:
        pairs = _pair_rows(old, new, columns, how)
        old = old.join(pairs, left_on="at", right_on="before", how="anti")
        new = new.join(pairs, left_on="at", right_on="after", how="anti")
        matches.append(pairs)
    return pl.concat(matches)


def _pair_rows(old: pl.DataFrame, new: pl.DataFrame, columns: list[str], how: str) -> pl.DataFrame:
    """Pair rows with equal `columns`: the first with the first, the second with the second."""
    # Numbered by expressions, so that no value can collide with a separator or a null.
    sides = [
        frame.sort("at").select("at", *columns, again=pl.int_range(pl.len()).over(columns))
        for frame in (old, new)
    ]
    joined = sides[0].join(sides[1], on=[*columns, "again"], nulls_equal=True, suffix="_after")
    return joined.select(before="at", after="at_after", how=pl.lit(how))


def _has_stable_ids(old: pl.DataFrame, new: pl.DataFrame, matched: pl.DataFrame) -> bool:
    """Return whether an id that occurs in both tables denotes the same row in both."""
    if not (old["id"].is_unique().all() and new["id"].is_unique().all()):
        return False
    ids = matched.join(old.select("id", before="at"), on="before").join(
        new.select("id", after="at"), on="after", suffix="_after"
    )
    kept = ids.select((pl.col("id") == pl.col("id_after")).mean()).item()
    if _has_row_number_ids(old) or _has_row_number_ids(new):
        return kept == 1.0  # row numbers are stable only if no row has moved
    return kept is None or kept >= _MIN_KEPT_SHARE


def _has_row_number_ids(rows: pl.DataFrame) -> bool:
    """Return whether the ids are row numbers, as in a table without an id column."""
    numbers = rows.select(ids=pl.int_range(1, pl.len() + 1).cast(pl.String))["ids"]
    return bool((rows["id"] == numbers).all())


def _find_renamed_labels(
    old: pl.DataFrame, new: pl.DataFrame, content: list[str]
) -> dict[str, str]:
    """Return labels that were renamed: all their rows now have one new label, and only they do.

    A row that had no label, or has none now, is not evidence for a new name.
    """
    unique_rows = [
        frame.filter(pl.struct(content).is_unique(), pl.col("label").is_not_null())
        for frame in (old, new)
    ]
    pairs = unique_rows[0].join(unique_rows[1], on=content, nulls_equal=True, suffix="_after")
    labels = pairs.group_by("label").agg(to=pl.col("label_after").unique(), rows=pl.len())
    new_labels, old_labels = set(new["label"].to_list()), set(old["label"].to_list())
    renames = {
        label: target[0]
        for label, target, rows in labels.iter_rows()
        if rows > 1 and len(target) == 1 and label not in new_labels and target[0] not in old_labels
    }
    names = list(renames.values())
    return {label: target for label, target in sorted(renames.items()) if names.count(target) == 1}


def _match_by_ids(old: pl.DataFrame, new: pl.DataFrame, key: str) -> Matching:
    for rows in (old, new):
        unique = bool(rows["id"].is_unique().all())
        if not unique or (len(rows) > 1 and _has_row_number_ids(rows)):
            raise StoreError(
                f"table of {key} rows without texts",
                expected="unique ids from an id column",
                got="row numbers" if unique else "an id that occurs more than once",
                remedy="Compare runs with texts in their tables, or add an id column to both.",
            )
    passes = [(["id", "label"], SAME), (["id"], RELABELLED)]
    return _make_matching(old, new, _match_passes(old, new, passes), by_content=False)


def _make_matching(
    old: pl.DataFrame,
    new: pl.DataFrame,
    pairs: pl.DataFrame,
    *,
    by_content: bool,
    renamed: dict[str, str] | None = None,
) -> Matching:
    gone, added = (len(frame) - len(pairs) for frame in (old, new))
    return Matching(pairs.sort("after"), by_content, added, gone, renamed or {})
