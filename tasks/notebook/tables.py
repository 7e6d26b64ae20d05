"""Tables of a Python session, written as Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from fastif import InputError
from storage.atomic import commit_file
from tasks.notebook.conversions import convert_table
from tasks.study.errors import join_some, suggest

TOKEN_COLUMNS = {
    "input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "offset_mapping",
    "position_ids", "word_ids",
}  # fmt: skip
"""Columns that a tokenizer adds to a data set."""


@dataclass(frozen=True)
class GivenTable:
    """Table that a caller gave.

    Attributes:
        path: File of the table, written to the folder unless it was a file already.
        id: Column with the index of a pandas data frame; None without one.
        notes: Sentences on columns that are not used.
    """

    path: Path
    id: str | None = None
    notes: tuple[str, ...] = ()


def write_table(data: Any, role: str, folder: Path, wanted: Sequence[str] = ()) -> GivenTable:
    """Write a table of any accepted form to a folder; the path of a file is kept.

    Args:
        data: Table in one of the forms.
        role: Name of the argument, train or queries.
        folder: Folder of the new file.
        wanted: Columns that the caller named.

    Raises:
        InputError: The form is not accepted, there is no such file, there are no rows, the rows are
            tokenized, or a named column cannot be stored.
    """
    if isinstance(data, str | PathLike):
        given = Path(data).expanduser()
        if not given.exists():
            names = [path.name for path in given.parent.glob("*")]
            hint = suggest(given.name, names) or "correct the path."
            remedy = f"{hint[:1].upper()}{hint[1:]}"
            raise InputError(role, "the path of a table", f"no such file, {given}", remedy)
        return GivenTable(given)
    table = convert_table(data, role)
    frame, lost = table.frame, [name for name in wanted if name in table.unusable]
    tokens = sorted(TOKEN_COLUMNS & {*frame.columns} - {*wanted})
    if tokens and pl.String not in frame.dtypes:
        raise InputError(
            role,
            "rows with their texts",
            f"tokenized rows, columns {join_some(frame.columns)}",
            "Give the data set before it was tokenized, or keep its text column: "
            "dataset.map(tokenize) without remove_columns.",
        )
    if lost:
        raise InputError(
            f"{role}, column {lost[0]}",
            "texts, numbers or truth values",
            "values of other or of mixed types",
            "Convert the column, for example with astype(str).",
        )
    if frame.is_empty():
        raise InputError(role, "at least one row", "none", "Give rows.")
    path = folder / f"{role}.parquet"
    commit_file(path, frame.drop(tokens).write_parquet)
    return GivenTable(path, table.index, _explain_unusable(table.unusable, role))


def _explain_unusable(names: Sequence[str], role: str) -> tuple[str, ...]:
    text = f"{role}: columns with values of other or of mixed types are not used: "
    return (text + join_some(names),) if names else ()
