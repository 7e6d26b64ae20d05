"""Protection against formula injection in CSV files for spreadsheets."""

import re

import polars as pl

FORMULA = r"^[=+\-@\t\r]"


def escape_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Prefix an apostrophe to texts that a spreadsheet would evaluate as a formula.

    Numbers are unchanged: "-1" is a number, "-1+cmd" is not.

    >>> escape_formulas(pl.DataFrame({"text": ["=1+1", "-1", "fine"]}))["text"].to_list()
    ["'=1+1", '-1', 'fine']
    """
    names = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(_escape_column(name) for name in names)


def unescape_formula(text: str) -> str:
    """Remove the apostrophe of `escape_formulas`.

    >>> unescape_formula("'=1+1"), unescape_formula("'tis fine")
    ('=1+1', "'tis fine")
    """
    return text[1:] if text.startswith("'") and re.match(FORMULA, text[1:]) else text


def _escape_column(name: str) -> pl.Expr:
    text = pl.col(name)
    risky = text.str.contains(FORMULA) & text.cast(pl.Float64, strict=False).is_null()
    return pl.when(risky).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)
