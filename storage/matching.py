"""Rows of two tables that are the same: by their content; an id is a name and no more.

A table without an id column names its rows by their numbers, so one row put in front renames all
that follow, and a data base may give a free id to another text. What an answer depends on is the
content: the text or texts. Rows of equal content are matched by multiplicity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from storage.errors import StoreError

SAME: Final = "same"
RELABELLED: Final = "relabelled"
EDITED: Final = "edited"
CONTENT: Final = ("text", "text_pair")
_MIN_KEPT_SHARE: Final = 0.5
"""Ids are names where at least this share of the rows matched by content kept theirs."""
_PAIR_SCHEMA: Final = {"before": pl.UInt32, "after": pl.UInt32, "how": pl.String}


@dataclass(frozen=True, eq=False)
class Matching:
    """Which rows of an earlier table are which of a later one.

    Attributes:
        pairs: columns before and after (positions in the two tables) and how: `SAME`, `RELABELLED`
            (the content is the same and the label is not) or `EDITED` (an id names another
            content).
        by_content: False where a table holds no texts, so that rows were matched by their ids.
        renamed: labels of the earlier table that have another name in the later one.
        new: rows of the later table without a partner.
        gone: rows of the earlier one without.
    """

    pairs: pl.DataFrame
    by_content: bool
    new: int
    gone: int
    renamed: dict[str, str] = field(default_factory=dict)

    def count(self, how: str) -> int:
        """Pairs of a kind."""
        return int((self.pairs["how"] == how).sum())


def match_rows(before: pl.LazyFrame, after: pl.LazyFrame, key: str) -> Matching:
    """Match the rows of two tables by content, then what is left by ids that are names.

    Of rows with equal content those of the same label and id go together first, then those of the
    same label, then those of the same id, then the rest in the order of the tables.

    Args:
        before: the earlier table `train` or `queries`.
        after: the later one.
        key: the column of positions, "train" or "query".

    Raises:
        StoreError: a table has no texts, and its ids are row numbers or used more than once: then
            nothing says which row is which.
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
    """Pairs of each pass among the rows that the passes before it left."""
    matches = [pl.DataFrame(schema=_PAIR_SCHEMA)]
    for columns, how in passes:
        pairs = _pair_rows(old, new, columns, how)
        old = old.join(pairs, left_on="at", right_on="before", how="anti")
        new = new.join(pairs, left_on="at", right_on="after", how="anti")
        matches.append(pairs)
    return pl.concat(matches)


def _pair_rows(old: pl.DataFrame, new: pl.DataFrame, columns: list[str], how: str) -> pl.DataFrame:
    """The first with the first, the second with the second, of rows that agree in `columns`."""
    # Numbered by expressions, so that no user's value and no null is taken for another.
    sides = [
        frame.sort("at").select("at", *columns, again=pl.int_range(pl.len()).over(columns))
        for frame in (old, new)
    ]
    joined = sides[0].join(sides[1], on=[*columns, "again"], nulls_equal=True, suffix="_after")
    return joined.select(before="at", after="at_after", how=pl.lit(how))


def _has_stable_ids(old: pl.DataFrame, new: pl.DataFrame, matched: pl.DataFrame) -> bool:
    """Whether an id that stands in both tables names one row in both."""
    if not (old["id"].is_unique().all() and new["id"].is_unique().all()):
        return False
    ids = matched.join(old.select("id", before="at"), on="before").join(
        new.select("id", after="at"), on="after", suffix="_after"
    )
    kept = ids.select((pl.col("id") == pl.col("id_after")).mean()).item()
    if _has_row_number_ids(old) or _has_row_number_ids(new):
        return kept == 1.0  # a row number names a row only where none has moved
    return kept is None or kept >= _MIN_KEPT_SHARE


def _has_row_number_ids(rows: pl.DataFrame) -> bool:
    """Whether the ids count the rows, as they do without an id column."""
    numbers = rows.select(ids=pl.int_range(1, pl.len() + 1).cast(pl.String))["ids"]
    return bool((rows["id"] == numbers).all())


def _find_renamed_labels(
    old: pl.DataFrame, new: pl.DataFrame, content: list[str]
) -> dict[str, str]:
    """Labels that are gone, each of whose rows now bears the same new label, and it alone."""
    unique_rows = [frame.filter(pl.struct(content).is_unique()) for frame in (old, new)]
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
                f"table of {key} rows without their texts",
                expected="ids that name rows",
                got="row numbers" if unique else "an id that is used more than once",
                remedy="Compare runs whose tables hold the texts, or give the tables an id column.",
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
