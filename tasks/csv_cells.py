"""Texts in a file that a spreadsheet will open."""

import polars as pl

FORMULA = r"^[=+\-@\t\r]"


def inert(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """With an apostrophe before what a spreadsheet would take for a formula.

    Numbers stay: "-1" is one, "-1+cmd" is none.

    >>> inert(pl.DataFrame({"text": ["=1+1", "-1", "fine"]}), ["text"])["text"].to_list()
    ["'=1+1", '-1', 'fine']
    """
    return frame.with_columns(_inert(name) for name in columns if name in frame.columns)


def _inert(name: str) -> pl.Expr:
    text = pl.col(name)
    risky = text.str.contains(FORMULA) & text.cast(pl.Float64, strict=False).is_null()
    return pl.when(risky).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)
