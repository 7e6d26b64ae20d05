"""Columns by name: in Unicode form NFC, and fields of nested columns by dotted names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from tasks.study.errors import join_some
from tasks.study.spelling import normalize_nfc

_SUBSCRIPT = re.compile(r"""\[\s*(["'])(.+?)\1\s*\]""")


def select_columns(rows: pl.LazyFrame, wanted: Sequence[str], *kept: str) -> pl.LazyFrame:
    """Select columns and fields of nested columns by their names in Unicode form NFC.

    Args:
        rows: Table with all columns.
        wanted: Names to select; those that do not exist are left out.
        kept: Names of further columns to keep.

    Raises:
        ValueError: a name that fits several columns or fields.
    """
    schema = rows.collect_schema()
    selected = [pl.col(name) for name in kept]
    for name in dict.fromkeys(wanted):
        same = [column for column in schema if normalize_nfc(column) == name]
        if len(same) > 1:
            raise ValueError(f"columns with equal names in Unicode form NFC: {join_some(same)}")
        fields = [pl.col(same[0])] if same else list(_find_fields(schema, name))
        if len(fields) > 1:
            raise ValueError(f"several nested columns that are named {name}")
        selected += [field.alias(name) for field in fields]
    return rows.select(selected)


def list_columns(schema: Mapping[str, Any], *hidden: str) -> list[str]:
    """List the names of columns in Unicode form NFC, each nested one followed by its fields.

    >>> list_columns({"id": pl.String(), "msg": pl.Struct({"body": pl.String})})
    ['id', 'msg', 'msg.body']
    """
    names = [name for name in _list_names(schema) if name not in hidden]
    return list(dict.fromkeys(map(normalize_nfc, names)))


def to_dotted(name: str) -> str:
    """Rewrite a name with subscripts, such as `msg["body"]`, with dots.

    >>> to_dotted('msg["body"]'), to_dotted("body")
    ('msg.body', 'body')
    """
    return _SUBSCRIPT.sub(lambda match: f".{match[2]}", name)


def find_parents(name: str) -> Iterator[str]:
    """Yield the beginnings of a dotted name, the longest first, and the name itself before them.

    >>> list(find_parents("a.b.c"))
    ['a.b.c', 'a.b', 'a']
    """
    while name:
        yield name
        name = name.rpartition(".")[0]


def _find_fields(schema: Mapping[str, Any], name: str) -> Iterator[pl.Expr]:
    for column, dtype in schema.items():
        yield from _find_in(pl.col(column), normalize_nfc(column), dtype, name)


def _find_in(expression: pl.Expr, place: str, dtype: Any, name: str) -> Iterator[pl.Expr]:
    if place == name:
        yield expression
    elif isinstance(dtype, pl.Struct) and name.startswith(f"{place}."):
        for field in dtype.fields:
            inner = expression.struct.field(field.name)
            child = f"{place}.{normalize_nfc(field.name)}"
            yield from _find_in(inner, child, field.dtype, name)


def _list_names(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, dtype in schema.items():
        yield name
        if isinstance(dtype, pl.Struct):
            inner = {field.name: field.dtype for field in dtype.fields}
            yield from (f"{name}.{child}" for child in _list_names(inner))
