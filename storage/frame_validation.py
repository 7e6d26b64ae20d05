"""Validation of a frame before it is committed: schema, nulls, finite values, keys, ranks."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from storage.errors import StoreError
from storage.fields import GROUP_PREFIX
from storage.ranking import RANKING, RANKING_SCORE
from storage.schemas import KEYS, polars_schema, table_schema


@dataclass(frozen=True)
class ValidatedFrame:
    """Frame that matches the schema of its table.

    Attributes:
        arrow: The frame as an Arrow table with the columns of the schema, in order.
        groups: Names of the group columns, without the prefix `group_`.
    """

    arrow: pa.Table
    groups: tuple[str, ...]


def validate_frame(table: str, frame: pl.DataFrame, where: str) -> ValidatedFrame:
    """Validate a frame and return it in the schema of its table.

    Args:
        table: Name of the table, a key of `storage.schemas.KEYS`.
        frame: Rows to commit; the order of the columns is free.
        where: Description of the commit, for messages.

    Raises:
        StoreError: The table is unknown, columns or types differ, a column that is not nullable
            holds a null, a number is NaN or infinite, a key is repeated, or scores are not
            sorted.
    """
    if table not in KEYS:
        raise StoreError(
            where,
            expected=f"one of the tables {', '.join(KEYS)}",
            got=repr(table),
            remedy="Rename it.",
        )
    where = f"table {table} of {where}"
    invalid_names = [repr(name) for name in frame.columns if "\0" in name]
    if invalid_names:
        raise StoreError(
            where,
            expected="column names without NUL characters, which Parquet cannot store",
            got=", ".join(invalid_names),
            remedy="Rename these columns.",
        )
    groups = tuple(
        name.removeprefix(GROUP_PREFIX) for name in frame.columns if name.startswith(GROUP_PREFIX)
    )
    schema = table_schema(table, groups)
    _check_columns(schema, frame, where)
    frame = frame.select(schema.names)
    _check_nulls(schema, frame, where)
    _check_finite(frame, where)
    _check_keys(frame, KEYS[table], where)
    if table == "scores":
        _check_ranks(frame, where)
    return ValidatedFrame(frame.to_arrow().cast(schema), groups)


def check_range(frame: pl.DataFrame, column: str, start: int, stop: int, where: str) -> None:
    """Check that every value of a column lies in `start .. stop - 1`.

    Raises:
        StoreError: A value lies outside.
    """
    outside = frame.filter(~pl.col(column).is_between(start, stop, closed="left"))
    if outside.height:
        raise StoreError(
            where,
            expected=f"{column} in {start}..{stop - 1}",
            got=f"{outside[column][0]} in {outside.height} rows",
            remedy="Commit each row under the shard that owns it.",
        )


def _check_columns(schema: pa.Schema, frame: pl.DataFrame, where: str) -> None:
    expected = polars_schema(schema)
    mismatches = [
        f"{name} {frame.schema.get(name, 'missing')} (expected {kind})"
        for name, kind in expected.items()
        if frame.schema.get(name) != kind
    ]
    mismatches += [
        f"{name} (not a column of this table)" for name in frame.columns if name not in expected
    ]
    if mismatches:
        raise StoreError(
            where,
            expected=f"the columns {', '.join(expected)}",
            got="; ".join(mismatches),
            remedy="Build the frame with storage.polars_schema.",
        )


def _check_nulls(schema: pa.Schema, frame: pl.DataFrame, where: str) -> None:
    for field in schema:
        count = frame[field.name].null_count()
        if count and not field.nullable:
            raise StoreError(
                where,
                expected=f"no nulls in column {field.name}",
                got=f"{count} nulls",
                remedy="Fill the nulls before the commit.",
            )


def _check_finite(frame: pl.DataFrame, where: str) -> None:
    for name, kind in frame.schema.items():
        if not kind.is_float():
            continue
        bad = frame[name].is_finite().not_().fill_null(False).arg_true()
        if len(bad):
            row = frame.row(bad[0], named=True)
            keys = ", ".join(f"{key} {row[key]}" for key in ("query", "train") if key in row)
            raise StoreError(
                where,
                expected=f"finite numbers in column {name}",
                got=f"{row[name]} in {len(bad)} rows, first at {keys or f'row {bad[0]}'}",
                remedy="Use a larger damping or another solver.",
            )


def _check_keys(frame: pl.DataFrame, keys: tuple[str, ...], where: str) -> None:
    repeated = frame.select(keys).is_duplicated()
    if repeated.any():
        first = frame.select(keys).row(repeated.arg_true()[0], named=True)
        raise StoreError(
            where,
            expected=f"unique values of {' and '.join(keys)}",
            got=f"{first} more than once",
            remedy="Drop the repeated rows.",
        )


def _check_ranks(frame: pl.DataFrame, where: str) -> None:
    # Each row is compared with the one before: within a query the rank grows by one and the number
    # that ranks never falls and stays the same column; a new query starts at rank 0.
    same = pl.col("query") == pl.col("query").shift()
    is_scaled = pl.col(RANKING_SCORE).is_not_null()
    follows = (
        (pl.col("rank") == pl.col("rank").shift() + 1)
        & (RANKING.shift() <= RANKING)
        & (is_scaled == is_scaled.shift())
    )
    starts = (pl.col("rank") == 0) & (pl.col("query") > pl.col("query").shift()).fill_null(True)
    in_order = frame.select(pl.when(same).then(follows).otherwise(starts).alias("fine"))["fine"]
    if not in_order.all():
        row = frame.row(in_order.not_().arg_true()[0], named=True)
        raise StoreError(
            where,
            expected="rows sorted by query and rank, with rank 0, 1, ... in ascending order of "
            "ranking_score, or of removal_effect in a query without ranking scores",
            got=f"query {row['query']}, rank {row['rank']}: removal_effect "
            f"{row['removal_effect']}, ranking_score {row['ranking_score']} out of order",
            remedy="Sort by query and this number, and number the rows of each query from 0.",
        )
