"""Check of the quotes of a text table, some of which Polars would lose silently."""

import csv
import io
import sys
from pathlib import Path

from tasks.data.text_content import TextContent


def check_quotes(text: TextContent, separator: str) -> None:
    r"""Refuse a quote inside a quoted cell that is not doubled, such as one after a backslash.

    Raises:
        ValueError: such a quote or an unclosed one, with its line.
    """
    csv.field_size_limit(sys.maxsize)  # a text may be long
    source = text.source
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()) as file:
        lines = io.TextIOWrapper(file, "utf-8-sig", "surrogatepass", newline="")
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for _ in reader:
                pass
        except csv.Error as error:
            reason = 'a quote inside a quoted cell that is not doubled ("")'
            reason = reason if '"' in str(error) else "a quoted cell without an end"
            raise ValueError(f"line {reader.line_num}: {reason}") from None
