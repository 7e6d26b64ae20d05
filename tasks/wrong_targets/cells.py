"""Cells of a table of targets: one for each row and label, or row and column of numbers."""

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests, row_digest
from tasks.study.target_kind import MULTI_LABEL, NUMBER

WRONG_TARGET_KINDS = (MULTI_LABEL, NUMBER)
"""Kinds of targets whose wrong ones are searched for cell by cell."""


def read_values(table: Table) -> np.ndarray:
    """Return the targets as a matrix, one row a row of the table and one column an output."""
    rows = [row if isinstance(row, tuple) else (row,) for row in table.targets]
    return np.array(rows, dtype=np.float64)


def format_value(value: float) -> str:
    """Write a target as the text by which annotations compare it.

    >>> format_value(1.0), format_value(-0.0), format_value(0.1)
    ('1', '0', '0.1')
    """
    return f"{int(value)}" if value.is_integer() and abs(value) < 1e15 else repr(value)


def make_cells(table: Table, names: Sequence[str]) -> pl.DataFrame:
    """Return the cells of a table, row by row.

    An annotation belongs to a cell by its `row`, so that it survives another order of the rows and
    other ids. `content` identifies the cell by any target, so that a corrected cell is known.

    Args:
        table: Training rows.
        names: Names of the labels, or of the columns of numbers.

    Returns:
        Columns train, output, id, name, text, text_pair, given, value (given as text), content and
        row.
    """
    values, n, c = read_values(table), len(table), len(names)
    contents = [cell_content(content, name) for content in content_digests(table) for name in names]
    texts = [format_value(value) for value in values.flatten().tolist()]
    rows = [row_digest(*cell) for cell in zip(contents, texts, strict=True)]
    pairs = table.text_pairs or [None] * n
    per_row = {"id": table.ids, "text": table.texts, "text_pair": pairs}
    frame = pl.DataFrame(
        {"train": np.arange(n, dtype=np.uint32), **per_row},
        schema_overrides={"text_pair": pl.String},
    )
    repeated = frame.select(pl.all().repeat_by(c).explode()) if c > 1 else frame
    return repeated.with_columns(
        output=pl.Series(np.tile(np.arange(c, dtype=np.uint32), n)),
        name=pl.Series([*names] * n, dtype=pl.String),
        given=pl.Series(values.flatten()),
        value=pl.Series(texts, dtype=pl.String),
        content=pl.Series(contents, dtype=pl.Binary),
        row=pl.Series(rows, dtype=pl.Binary),
    )


def cell_content(content: bytes, name: str) -> bytes:
    """Digest of a row's content and the name of an output, truncated to 16 bytes."""
    return hashlib.sha256(content + b"\0" + name.encode()).digest()[:16]
