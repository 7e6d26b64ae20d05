"""A Parquet table as a JSON document."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from tests.golden.rounding import BITS, digest, round_floats
from tests.golden.volatile import MASK, VOLATILE, mask_volatile

REASON = "reason"
"""A column of the queries that were not answered; as a key of JSON it is volatile."""


def table(paths: Sequence[Path]) -> dict[str, Any]:
    """Columns with their types and values, the files one after the other.

    Floats have six digits, and each column that has some a digest of all of them.

    Raises:
        AssertionError: the files have not the same columns.
    """
    schemas = [_schema(path) for path in paths]
    assert all(schema == schemas[0] for schema in schemas), f"{paths[0].parents[1]}: many schemas"
    frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])
    columns, bits = {}, {}
    for values in frame:
        if values.name in VOLATILE and values.name != REASON:
            columns[values.name] = MASK
            continue
        whole = [_value(value) for value in values.to_list()]
        short = round_floats(whole)
        columns[values.name] = _shortest(short)
        if short != whole:
            bits[values.name] = digest(json.dumps(whole))
    return {"schema": schemas[0], "rows": frame.height, "columns": columns, BITS: bits}


def _schema(path: Path) -> dict[str, Any]:
    """What is said of the table, and of each column its type and unit; not the sentences."""
    schema = pq.read_schema(path)
    about = {key.decode(): text.decode() for key, text in (schema.metadata or {}).items()}
    about.pop("ARROW:schema", None)
    return {"": about, **{field.name: _type(field) for field in schema}}


def _type(field: Any) -> str:
    unit = (field.metadata or {}).get(b"unit", b"").decode()
    return f"{field.type}{'' if field.nullable else ' not null'}{f' [{unit}]' if unit else ''}"


def _shortest(values: list[Any]) -> Any:
    same = len(values) > 1 and all(value == values[0] for value in values)
    return {"each": values[0]} if same else values


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()[:16]
    if isinstance(value, list):
        return [_value(inner) for inner in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return {"json": mask_volatile(json.loads(value))}
        except ValueError:
            return value
    return value if isinstance(value, str | int | float | None) else f"{value}"
