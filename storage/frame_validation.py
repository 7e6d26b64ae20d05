"""What a frame must satisfy before it may become a file."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from storage.errors import StoreError
from storage.fields import GROUP_PREFIX
from storage.schemas import KEYS, polars_schema, table_schema


@dataclass(frozen=True)
class ValidatedFrame:
    """A frame that matches its schema, as Arrow; `groups` are the names of its group columns."""

    arrow: pa.Table
    groups: tuple[str, ...]


def validate_frame(table: str, frame: pl.DataFrame, where: str) -> ValidatedFrame:
    """Arrow table of `frame` in the schema of `table`; the order of its columns is free.

    Raises:
        StoreError: unknown table, other columns or types, a null where none may be, NaN or an
            infinite number anywhere, a repeated key, or scores out of their order.
    """
    if table not in KEYS:
        raise StoreError(
            where, expected=f"a table of {', '.join(KEYS)}", got=repr(table), remedy="Rename it."
        )
    where = f"table {table} of {where}"
    invalid_names = [repr(name) for name in frame.columns if "\0" in name]
    if invalid_names:
        raise StoreError(
            where,
            expected="names of columns without the character NUL, which no file holds",
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
    """Refuse a column that leaves ``start .. stop - 1``."""
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
                expected=f"a value in every row of {field.name}",
                got=f"{count} nulls",
                remedy="Fill them before the commit.",
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
                expected=f"finite numbers in {name}",
                got=f"{row[name]} in {len(bad)} rows, first at {keys or f'row {bad[0]}'}",
                remedy="A larger damping or another solver keeps the solve finite.",
            )


def _check_keys(frame: pl.DataFrame, keys: tuple[str, ...], where: str) -> None:
    repeated = frame.select(keys).is_duplicated()
    if repeated.any():
        first = frame.select(keys).row(repeated.arg_true()[0], named=True)
        raise StoreError(
            where,
            expected=f"each {' and '.join(keys)} once",
            got=f"{first} more than once",
            remedy="Drop the repeated rows.",
        )


def _check_ranks(frame: pl.DataFrame, where: str) -> None:
    # Row by row against the one before: the same query goes one rank up and never down in effect,
    # a new query starts at rank 0.
    same = pl.col("query") == pl.col("query").shift()
    follows = (pl.col("rank") == pl.col("rank").shift() + 1) & (
        pl.col("removal_effect") >= pl.col("removal_effect").shift()
    )
    starts = (pl.col("rank") == 0) & (pl.col("query") > pl.col("query").shift()).fill_null(True)
    in_order = frame.select(pl.when(same).then(follows).otherwise(starts).alias("fine"))["fine"]
    if not in_order.all():
        row = frame.row(in_order.not_().arg_true()[0], named=True)
        raise StoreError(
            where,
            expected="rows sorted by query and rank, where rank 0, 1, ... goes with ascending "
            "removal_effect",
            got=f"query {row['query']}, rank {row['rank']}, {row['removal_effect']} out of order",
            remedy="Sort by (query, removal_effect) and number the rows of each query from 0.",
        )
